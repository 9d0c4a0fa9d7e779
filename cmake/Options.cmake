# What can be chosen. An OURO_ variable on the command line that nobody declared stops the configuration: see
# ouro_refuse_unknown_options, which the top CMakeLists.txt calls last.

option(OURO_BUILD_TESTS "Build the tests" "${PROJECT_IS_TOP_LEVEL}")
option(OURO_BUILD_BENCH "Build the benchmarks" OFF)
option(OURO_BUILD_EXAMPLES "Build the examples" "${PROJECT_IS_TOP_LEVEL}")
option(OURO_BUILD_STRESS "Build the stress programs" OFF)
option(OURO_WERROR "Warnings are errors" OFF)
option(OURO_DEBUG "Compile in asserts, walks of lists, and fault injection from the environment" OFF)
option(OURO_SCHED "Put a scheduling point at every atomic, lock and park" OFF)
option(OURO_COVERAGE "Instrument for gcov" OFF)
set(OURO_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them: address,undefined or thread")
set_property(CACHE OURO_SANITIZE PROPERTY HELPSTRING "Sanitizers, as -fsanitize= takes them") # if given with a type

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

# CMake gives a variable that came from the command line or a preset this help text, until option() or set(CACHE) gives
# it another. One that still has it at the end was declared by nobody.
function(ouro_refuse_unknown_options)
    set(unknown "")
    get_cmake_property(names CACHE_VARIABLES)
    foreach(name IN LISTS names)
        if(name MATCHES "^OURO_")
            get_property(help CACHE "${name}" PROPERTY HELPSTRING)
            if(help MATCHES "^No help, variable specified on the command line")
                list(APPEND unknown "${name}")
                unset("${name}" CACHE) # or it would stop the next configuration as well
            endif()
        endif()
    endforeach()
    if(unknown)
        set(known "")
        get_cmake_property(names CACHE_VARIABLES)
        list(FILTER names INCLUDE REGEX "^OURO_")
        list(JOIN names " " known)
        list(JOIN unknown " " unknown)
        message(FATAL_ERROR "Unknown option: ${unknown}\nThe options of this configuration are: ${known}")
    endif()
endfunction()

# Flags of everything that is compiled here, the libraries, tests and benchmarks alike: the standard, warnings,
# sanitizers, coverage. Sanitizers change no layout and no algorithm: they are flags and nothing else.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)

if(NOT CMAKE_C_COMPILER_ID MATCHES "^(GNU|Clang)$")
    message(FATAL_ERROR "Ouroboros is built with gcc or clang; this is ${CMAKE_C_COMPILER_ID}")
endif()

# Warnings: only where this is the project being built, not somebody's subdirectory.
if(PROJECT_IS_TOP_LEVEL)
    add_compile_options(
        -Wall -Wextra -Wpedantic -Wundef -Wshadow -Wconversion
        "$<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes;-Wmissing-prototypes>"
        "$<$<BOOL:${OURO_WERROR}>:-Werror>")
endif()

# Stops unless a program compiles and links with `flags`. what: for the message.
function(ouro_require_flags what flags hint)
    string(MAKE_C_IDENTIFIER "ouro_has_${CMAKE_C_COMPILER_ID}_${flags}" found)
    include(CheckCSourceCompiles)
    set(CMAKE_REQUIRED_FLAGS "${flags}")
    set(CMAKE_REQUIRED_LINK_OPTIONS "${flags}")
    set(CMAKE_REQUIRED_QUIET ON)
    check_c_source_compiles("int main(void) { return 0; }" "${found}")
    if(NOT ${found})
        unset("${found}" CACHE)
        message(FATAL_ERROR "${what}: ${CMAKE_C_COMPILER} cannot build a program with ${flags}. ${hint}")
    endif()
endfunction()

if(OURO_SANITIZE)
    if(NOT OURO_SANITIZE MATCHES "^[a-z,-]+$")
        message(FATAL_ERROR "OURO_SANITIZE=${OURO_SANITIZE}: give the names as -fsanitize= takes them, with commas")
    endif()
    ouro_require_flags("OURO_SANITIZE=${OURO_SANITIZE}" "-fsanitize=${OURO_SANITIZE}"
        "Install the sanitizer's runtime (Debian: libclang-rt-dev for clang; gcc brings its own), or take another.")
    add_compile_options(-fsanitize=${OURO_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${OURO_SANITIZE})
endif()

if(OURO_COVERAGE)
    ouro_require_flags("OURO_COVERAGE" "--coverage" "Install the compiler's coverage runtime.")
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()

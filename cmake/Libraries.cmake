# The two libraries. Each is compiled once, as position independent objects, out of the layers under lib/ (bottom to top;
# one that does not exist is left out); the objects make
#
#   lib<name>.so      hidden visibility; binds its own functions to itself, so that two of ours can share a process
#   lib<name>.a       one relocatable object in which only what is exported is global. It is linked whole or not at all:
#                     a malloc of ours beside a memalign of libc's would be heap corruption.
#   <name>_internal   the objects as they are, for tests that look inside; not installed

set(ouro_layers_shared base os sync arena pool heap stats)
set(ouro_layers_of_ouro ${ouro_layers_shared} world object weakref gc trace)
set(ouro_layers_of_ouro_malloc ${ouro_layers_shared} trace malloc)

set(ouro_compile_options
    -fvisibility=hidden -ftls-model=initial-exec -fno-semantic-interposition
    # malloc's own code must not be folded into calls of malloc
    -fno-tree-slp-vectorize # which makes one slow store of two, in free
    -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
    -fno-builtin-aligned_alloc -fno-builtin-memalign -fno-builtin-posix_memalign
    "$<$<CONFIG:Release>:-g>"
    "$<IF:$<BOOL:${OURO_DEBUG}>,-fno-omit-frame-pointer,-fomit-frame-pointer>")
set(ouro_link_options
    -Wl,--as-needed -Wl,-z,relro -Wl,-z,now -Wl,-Bsymbolic-functions
    -Wl,-z,nodelete) # its threads' destructors outlive a dlclose
if(NOT OURO_SANITIZE) # whose runtime comes with the program
    list(APPEND ouro_link_options -Wl,-z,defs)
endif()
set(ouro_public_include
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")

# hwloc, for libouro: tells which CPUs belong to which node. Its functions are weak references, so that a program can be
# linked wholly statically, without it.
find_package(PkgConfig REQUIRED)
pkg_check_modules(OURO_HWLOC REQUIRED hwloc>=2.0)
# libdw and zlib, for snapshots: their headers alone; both are opened when names or a profile are asked for (docs/decisions/0010).
pkg_check_modules(OURO_LIBDW REQUIRED libdw)
pkg_check_modules(OURO_ZLIB REQUIRED zlib)
set(ouro_hwloc_link -Wl,--push-state,--no-as-needed ${OURO_HWLOC_LINK_LIBRARIES} -Wl,--pop-state)

# In archives the library's instructions have a section of their own, whose ends the linker names: see lib/world/signal.c.
set(ouro_text_sections "")
foreach(section .text .text.unlikely .text.hot .text.startup .text.exit)
    list(APPEND ouro_text_sections --rename-section "${section}=ouro_text")
endforeach()

function(ouro_add_library name export_name dropin)
    set(sources "")
    foreach(layer IN LISTS ouro_layers_of_${name})
        file(GLOB found CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/lib/${layer}/*.c")
        list(APPEND sources ${found})
    endforeach()
    if(NOT sources)
        message(FATAL_ERROR "${name}: no sources under lib/")
    endif()
    set(sanitized 0)
    if(OURO_SANITIZE) # whose commas a generator expression would take for its own
        set(sanitized 1)
    endif()
    set(definitions
        OURO_DROPIN=${dropin} OURO_DEBUG=$<BOOL:${OURO_DEBUG}> OURO_SCHED=$<BOOL:${OURO_SCHED}>
        OURO_SANITIZED=${sanitized})

    add_library(${name}_objects OBJECT ${sources})
    set_target_properties(${name}_objects PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_compile_options(${name}_objects PRIVATE ${ouro_compile_options})
    target_compile_definitions(${name}_objects PRIVATE _GNU_SOURCE ${definitions})
    target_include_directories(${name}_objects PRIVATE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/lib")

    target_include_directories(${name}_objects SYSTEM PRIVATE ${OURO_LIBDW_INCLUDE_DIRS} ${OURO_ZLIB_INCLUDE_DIRS})
    if(NOT dropin)
        target_include_directories(${name}_objects SYSTEM PRIVATE ${OURO_HWLOC_INCLUDE_DIRS})
    endif()

    add_library(${name} SHARED $<TARGET_OBJECTS:${name}_objects>)
    set(map "${PROJECT_SOURCE_DIR}/cmake/${name}.map")
    target_link_options(${name} PRIVATE ${ouro_link_options} "-Wl,--version-script=${map}")
    set_target_properties(${name} PROPERTIES LINK_DEPENDS "${map}"
        VERSION "${PROJECT_VERSION}" SOVERSION "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")

    set(whole "${CMAKE_CURRENT_BINARY_DIR}/${name}_whole.o")
    add_custom_command(OUTPUT "${whole}"
        COMMAND "${CMAKE_C_COMPILER}" -nostdlib -r -o "${whole}" "$<TARGET_OBJECTS:${name}_objects>"
        COMMAND "${CMAKE_OBJCOPY}" --localize-hidden ${ouro_text_sections} "${whole}"
        DEPENDS ${name}_objects "$<TARGET_OBJECTS:${name}_objects>"
        COMMENT "Binding ${name} into one object" VERBATIM COMMAND_EXPAND_LISTS)
    add_library(${name}_static STATIC "${whole}")
    set_source_files_properties("${whole}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
    set_target_properties(${name}_static PROPERTIES OUTPUT_NAME ${name})
    target_link_options(${name}_static INTERFACE -pthread)

    foreach(target ${name} ${name}_static)
        set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C
            LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib" ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
        target_include_directories(${target} INTERFACE ${ouro_public_include})
        target_compile_features(${target} INTERFACE c_std_11)
        if(dropin)
            # The program asks for malloc by itself, or --as-needed and archives would leave the drop-in out.
            target_link_options(${target} INTERFACE -Wl,--undefined=malloc)
        endif()
    endforeach()
    if(NOT dropin)
        target_link_libraries(${name} PRIVATE ${ouro_hwloc_link})
        target_link_libraries(${name}_static INTERFACE "$<BUILD_INTERFACE:${ouro_hwloc_link}>")
    endif()
    set_target_properties(${name} PROPERTIES EXPORT_NAME ${export_name})
    set_target_properties(${name}_static PROPERTIES EXPORT_NAME ${export_name}_static)
    add_library(ouro::${export_name} ALIAS ${name})
    add_library(ouro::${export_name}_static ALIAS ${name}_static)

    if(dropin)
        set(internal malloc_internal)
    else()
        set(internal internal)
    endif()
    # One object here too, for the library's instructions to lie together.
    set(inner "${CMAKE_CURRENT_BINARY_DIR}/${name}_inner.o")
    add_custom_command(OUTPUT "${inner}"
        COMMAND "${CMAKE_C_COMPILER}" -nostdlib -r -o "${inner}" "$<TARGET_OBJECTS:${name}_objects>"
        COMMAND "${CMAKE_OBJCOPY}" ${ouro_text_sections} "${inner}"
        DEPENDS ${name}_objects "$<TARGET_OBJECTS:${name}_objects>"
        COMMENT "Binding ${name} into one object for tests" VERBATIM COMMAND_EXPAND_LISTS)
    add_library(ouro_${internal} STATIC EXCLUDE_FROM_ALL "${inner}")
    set_source_files_properties("${inner}" PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
    if(NOT dropin)
        target_link_libraries(ouro_${internal} INTERFACE ${ouro_hwloc_link})
    endif()
    set_target_properties(ouro_${internal} PROPERTIES LINKER_LANGUAGE C)
    target_include_directories(ouro_${internal} INTERFACE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/lib")
    target_compile_definitions(ouro_${internal} INTERFACE ${definitions})
    target_link_options(ouro_${internal} INTERFACE -pthread)
    add_library(ouro::${internal} ALIAS ouro_${internal})
endfunction()

ouro_add_library(ouro ouro 0)
ouro_add_library(ouro_malloc malloc 1)

# What `cmake --install` lays down: headers, the four libraries, the CMake package `ouro` and two pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS ouro ouro_static ouro_malloc ouro_malloc_static EXPORT ouroTargets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT dev
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT dev)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/ouro" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT dev
    FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT runtime)

set(ouro_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ouro")
install(EXPORT ouroTargets NAMESPACE ouro:: DESTINATION "${ouro_package_dir}" COMPONENT dev)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/ouroConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/ouroConfig.cmake" INSTALL_DESTINATION "${ouro_package_dir}"
    NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ouroConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ouroConfig.cmake" "${PROJECT_BINARY_DIR}/ouroConfigVersion.cmake"
    DESTINATION "${ouro_package_dir}" COMPONENT dev)

# The directories as pkg-config wants them: under ${prefix}, unless they were given as absolute paths.
foreach(dir LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
        set(ouro_pc_${dir} "${CMAKE_INSTALL_${dir}}")
    else()
        set(ouro_pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
    endif()
endforeach()
foreach(package ouro ouro_malloc)
    configure_file("${PROJECT_SOURCE_DIR}/cmake/${package}.pc.in" "${PROJECT_BINARY_DIR}/${package}.pc.in" @ONLY)
    # At the time of installation, for `cmake --install --prefix` to be right.
    install(CODE "set(OURO_PC_IN \"${PROJECT_BINARY_DIR}/${package}.pc.in\")\nset(OURO_PC_OUT \"${package}.pc\")" COMPONENT dev)
    install(CODE [[
        file(READ "${OURO_PC_IN}" text)
        string(REPLACE "%PREFIX%" "${CMAKE_INSTALL_PREFIX}" text "${text}")
        file(WRITE "${OURO_PC_IN}.d/${OURO_PC_OUT}" "${text}")]] COMPONENT dev)
    install(FILES "${PROJECT_BINARY_DIR}/${package}.pc.in.d/${package}.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT dev)
endforeach()

# Debian packages: `cpack --config build/PRESET/CPackConfig.cmake`, or scripts/package, which builds for /usr.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ouro)
set(CPACK_PACKAGE_VENDOR "Ouroboros")
set(CPACK_PACKAGE_CONTACT "Ouroboros maintainers <maintainers@ouroboros.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX "${CMAKE_INSTALL_PREFIX}")
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_BINARY_DIR}/packages")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime dev tools)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${PROJECT_BINARY_DIR}/lib")
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)
set(ouro_abi "${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME "libouro${ouro_abi}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "memory management for multithreaded programs: shared libraries
 libouro_malloc takes the place of malloc, free and operator new; libouro has
 the same heap under names of its own, and objects with reference counts, weak
 references and a parallel collector of cycles.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "libdw1, zlib1g") # opened when names or a profile are asked for
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libouro-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libouro${ouro_abi} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "cmake, pkg-config, libhwloc-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEV_DESCRIPTION "memory management for multithreaded programs: for development
 Headers of C and C++, the archives, and what CMake and pkg-config need.")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME ouro-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "libouro${ouro_abi} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "memory management for multithreaded programs: the tool ouro
 Shows where a program's memory goes.")
include(CPack)

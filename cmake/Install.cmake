# What `cmake --install` lays down: headers, the four libraries, the CMake package `ouro` and two pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS ouro ouro_static ouro_malloc ouro_malloc_static EXPORT ouroTargets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/ouro" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

set(ouro_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ouro")
install(EXPORT ouroTargets NAMESPACE ouro:: DESTINATION "${ouro_package_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/ouroConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/ouroConfig.cmake" INSTALL_DESTINATION "${ouro_package_dir}"
    NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/ouroConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/ouroConfig.cmake" "${PROJECT_BINARY_DIR}/ouroConfigVersion.cmake"
    DESTINATION "${ouro_package_dir}")

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
    install(CODE "set(OURO_PC_IN \"${PROJECT_BINARY_DIR}/${package}.pc.in\")\nset(OURO_PC_OUT \"${package}.pc\")")
    install(CODE [[
        file(READ "${OURO_PC_IN}" text)
        string(REPLACE "%PREFIX%" "${CMAKE_INSTALL_PREFIX}" text "${text}")
        file(WRITE "${OURO_PC_IN}.d/${OURO_PC_OUT}" "${text}")]])
    install(FILES "${PROJECT_BINARY_DIR}/${package}.pc.in.d/${package}.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()

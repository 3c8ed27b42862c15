# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` leaves behind: both libraries, the headers, a CMake package with
# userfault::userfault (shared) and userfault::userfault_static, a pkg-config file, man pages.
# Everything is relocatable: the prefix is found from where the files lie.
include(CMakePackageConfigHelpers)

set_target_properties(userfault_shared PROPERTIES EXPORT_NAME userfault)
install(TARGETS userfault_shared userfault_static EXPORT userfault_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/userfault DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/userfault)
install(EXPORT userfault_targets NAMESPACE userfault:: FILE userfault-targets.cmake DESTINATION ${package_dir})
configure_package_config_file(cmake/userfault-config.cmake.in
  ${PROJECT_BINARY_DIR}/userfault-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/userfault-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/userfault-config.cmake ${PROJECT_BINARY_DIR}/userfault-config-version.cmake
  DESTINATION ${package_dir})

file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" /)
configure_file(cmake/userfault.pc.in ${PROJECT_BINARY_DIR}/userfault.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/userfault.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

file(GLOB man_pages CONFIGURE_DEPENDS man/*.[1-8])
foreach(page IN LISTS man_pages)
  string(REGEX MATCH "[1-8]$" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

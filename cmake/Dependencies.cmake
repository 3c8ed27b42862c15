# SPDX-License-Identifier: Apache-2.0
# What the library uses of others, all of it optional: AUTO takes it where pkg-config finds it, ON
# insists, OFF does without. userfault_requires holds the pkg-config names of what is used.
set(userfault_requires "")
set(userfault_dependencies "")
find_package(PkgConfig)

function(userfault_dependency option module)
  set(USERFAULT_${option} AUTO CACHE STRING "Use ${module}: AUTO, ON or OFF")
  set(USERFAULT_WITH_${option} OFF PARENT_SCOPE)
  if(USERFAULT_${option} STREQUAL OFF)
    return()
  endif()
  if(PkgConfig_FOUND)
    pkg_check_modules(USERFAULT_${module} QUIET IMPORTED_TARGET ${module})
  endif()
  if(USERFAULT_${module}_FOUND)
    set(USERFAULT_WITH_${option} ON PARENT_SCOPE)
    set(userfault_requires "${userfault_requires} ${module}" PARENT_SCOPE)
    set(userfault_dependencies ${userfault_dependencies} PkgConfig::USERFAULT_${module} PARENT_SCOPE)
  elseif(NOT USERFAULT_${option} STREQUAL AUTO)
    message(FATAL_ERROR "USERFAULT_${option} is ${USERFAULT_${option}}, but pkg-config does not find ${module}")
  endif()
endfunction()

userfault_dependency(IO_URING liburing)
userfault_dependency(ZSTD libzstd)

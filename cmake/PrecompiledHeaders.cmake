# SPDX-License-Identifier: Apache-2.0
# Headers that are compiled once for many files: what they cost is most of the price of a test. The
# engines are compiled without. A file has to include what it needs all the same; the preset clang
# compiles every file by itself, and so does CMAKE_DISABLE_PRECOMPILE_HEADERS=ON.

# ccache keeps what was compiled with such a header only when it is told that macros in it do not matter.
foreach(language IN ITEMS C CXX)
  if("${CMAKE_${language}_COMPILER_LAUNCHER}" MATCHES "ccache$")
    list(PREPEND CMAKE_${language}_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros)
  endif()
endforeach()

# A set of headers is a library of one empty file, so that no program waits for another one's objects.
function(userfault_header_set name)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/${name}.cc CONTENT "// The headers of ${name}.\n")
  add_library(${name} OBJECT EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE userfault_warnings)
  target_precompile_headers(${name} PRIVATE ${ARGN})
endfunction()

# A compiler takes the headers only with the flags that they were compiled with: programs are compiled
# as libraries are, -fPIC in place of -fPIE.
function(userfault_use_headers target name)
  target_compile_options(${target} PRIVATE -fPIC)
  target_precompile_headers(${target} REUSE_FROM ${name})
endfunction()

# What a test needs: GoogleTest, and the standard headers that most of them include. Nobody waits for
# the code of a test, so it is not worth the time that -O2 takes.
function(userfault_test_code target)
  if(NOT TARGET userfault_test_headers)
    find_package(GTest REQUIRED)
    userfault_header_set(userfault_test_headers
      <fcntl.h> <signal.h> <sys/mman.h> <sys/wait.h> <unistd.h>
      <algorithm> <array> <atomic> <cerrno> <chrono> <cstdint> <cstdio> <cstdlib> <cstring>
      <fstream> <functional> <memory> <optional> <span> <string> <string_view> <thread> <utility> <vector>
      <gtest/gtest.h>)
    target_link_libraries(userfault_test_headers PRIVATE GTest::gtest)
    target_compile_options(userfault_test_headers PRIVATE ${userfault_test_options})
  endif()
  target_compile_options(${target} PRIVATE ${userfault_test_options})
  # The headers are taken only where GoogleTest's macros are as they were, by programs without it, too.
  target_compile_options(${target} PRIVATE $<TARGET_PROPERTY:GTest::gtest,INTERFACE_COMPILE_OPTIONS>)
  userfault_use_headers(${target} userfault_test_headers)
endfunction()
# At -O1 g++ 12 takes what std::string does for an access out of bounds: the warnings that rest on its flow
# analysis are left to the library's own files.
set(userfault_test_options $<$<CONFIG:Release,RelWithDebInfo>:-O1>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-maybe-uninitialized;-Wno-stringop-overflow;-Wno-stringop-overread>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-dangling-pointer>)

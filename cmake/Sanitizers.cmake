# SPDX-License-Identifier: Apache-2.0
if(USERFAULT_SANITIZE)
  add_compile_options(-fsanitize=${USERFAULT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${USERFAULT_SANITIZE})
  # The check of an object's dynamic type reads RTTI, which the libraries are built without.
  if(USERFAULT_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize=vptr)
  endif()
  # The instrumented code confuses g++'s flow analysis: with it std::regex itself is "maybe
  # uninitialized". GCC's manual says so under -fsanitize=; the other presets keep the warning.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
endif()

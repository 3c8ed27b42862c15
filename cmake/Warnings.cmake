# SPDX-License-Identifier: Apache-2.0
# Warnings are errors, for our own code only.
add_library(userfault_warnings INTERFACE)
target_compile_options(userfault_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wcast-align -Wundef -Werror
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual -Wold-style-cast>
  # What src/base/thread_annotations.h says about mutexes is checked by clang alone.
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>)

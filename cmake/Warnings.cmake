# SPDX-License-Identifier: Apache-2.0
# Of our own code only. USERFAULT_WERROR makes errors of them, as every preset does: a newer compiler may
# know warnings that nobody has met yet.
add_library(userfault_warnings INTERFACE)
target_compile_options(userfault_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wcast-align -Wundef
  $<$<BOOL:${USERFAULT_WERROR}>:-Werror>
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual -Wold-style-cast>
  # What src/base/thread_annotations.h says about mutexes is checked by clang alone.
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>)

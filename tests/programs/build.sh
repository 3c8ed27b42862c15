# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/test-programs.sh: builds what the rows run into $build.

kernel_archive=/usr/src/linux-source-6.1.tar.xz
kernel_vm=linux-source-6.1/tools/testing/selftests/vm

# Only the files of the two tests, from an archive of 80,000: the archive is read once and the result
# is kept.
extract_selftests() {
  [ -e "$build/$kernel_vm/userfaultfd.c" ] && return
  tar -C "$build" -xJf $kernel_archive "$kernel_vm/userfaultfd.c" "$kernel_vm/hugepage-mremap.c" \
    "$kernel_vm/vm_util.c" "$kernel_vm/vm_util.h" "$kernel_vm/../kselftest.h" 2>/dev/null ||
    tar -C "$build" -xJf $kernel_archive "$kernel_vm" "${kernel_vm%/vm}/kselftest.h"
}

build_programs() {
  mkdir -p "$build"
  cc -O2 -Wall -Wextra -o "$build/deny-userfaultfd" "$parts/deny_userfaultfd.c"
  cc -O2 -g -Wall -Wextra -o "$build/demo" "$parts/demo.c" -pthread
  cc -O1 -g -fsanitize=address -o "$build/demo-asan" "$parts/demo.c" -pthread
  cc -O1 -g -fsanitize=thread -o "$build/demo-tsan" "$parts/demo.c" -pthread
  if [ "$(uname -m)" = x86_64 ]; then
    cc -m32 -c -o "$build/guest.o" "$parts/guest.S"
    ld -m elf_i386 -Ttext 0x100000 -e start -z noexecstack -o "$build/guest.elf" "$build/guest.o"
  fi
  [ -e $kernel_archive ] || return 0
  extract_selftests
  cc -O2 -w -o "$build/userfaultfd" "$build/$kernel_vm/userfaultfd.c" "$build/$kernel_vm/vm_util.c" -pthread
  cc -O2 -w -o "$build/hugepage-mremap" "$build/$kernel_vm/hugepage-mremap.c"
}

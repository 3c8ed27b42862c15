# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/test-programs.sh: the rows. Each names a program, its limit in seconds and what
# is worth remarking of its log.

nothing() { :; }
last_line() { tail -n 1 "$1"; }

huge_pages_free() { awk '/^HugePages_Free/ { print $2 }' /proc/meminfo; }

repeat_note() { [ "$repeat" -eq 1 ] && [ -z "$cores" ] || echo "$repeat times${cores:+, on processors $cores}"; }

# The numbers are those of the kernel's own run_vmtests.sh, with hugetlb kept to 32 MiB an area.
selftest() {
  local kind=$1 size=$2 bounces=$3 pin=()
  [ -z "$cores" ] || pin=(taskset -c "$cores")
  # shellcheck disable=SC2016  # The inner shell expands these.
  row "selftest $kind" $((60 * repeat)) repeat_note \
    bash -c 'n=$1; shift; for ((i = 0; i < n; ++i)); do "$@" || exit; done' loop "$repeat" \
    "${pin[@]}" "${launcher[@]}" "$build/userfaultfd" "$kind" "$size" "$bounces" "$scratch/huge/file-$user"
}

selftests() {
  local kind
  if [ ! -e "$build/userfaultfd" ] && [ -z "$list" ]; then
    skip "selftest" "the package linux-source-6.1 is not installed"
    return
  fi
  for kind in anon anon:dev anon:syscall shmem shmem:dev; do selftest "$kind" 20 16; done
  if [ -z "$list" ] && [ "$(huge_pages_free)" -lt 64 ]; then
    skip "selftest hugetlb" "needs 64 free huge pages: sysctl vm.nr_hugepages"
    return
  fi
  selftest hugetlb 32 32
  if [ -z "$list$mounted" ]; then
    skip "selftest hugetlb_shared" "needs a hugetlbfs mount, which takes root"
    return
  fi
  selftest hugetlb_shared 32 32
  selftest shmem:collapse 20 16
  row "selftest hugepage-mremap" 60 nothing "${launcher[@]}" "$build/hugepage-mremap" "$scratch/huge/remap-$user"
}

# Nanoseconds a fault, as stress-ng prints them.
fault_ns() { sed -n 's/.* userfaultfd *\([0-9.]*\) nanosecs per page fault.*/\1/p' "$1"; }

stress_note() {
  local kernel
  kernel=$(fault_ns "$logs/stress-ng-kernel.log" 2>/dev/null || true)
  awk -v ours="$(fault_ns "$1")" -v kernel="$kernel" 'BEGIN {
    printf "%.0f ns a fault", ours
    if (kernel != "") printf "; the kernel %.0f, ratio %.2f", kernel, ours / kernel }'
}

# In the other mode the kernel is measured first, for a quarter of the time and as root only.
stress_ng() {
  local run=(stress-ng --userfaultfd 2 --verify --metrics-brief --temp-path "$scratch" --timeout)
  rm -f "$logs/stress-ng-kernel.log"
  if [ "$mode" = run ] && [ "$(id -u)" -eq 0 ] && [ -z "$list" ] && wanted "stress-ng"; then
    (cd "$scratch" && "${run[@]}" 5s) >"$logs/stress-ng-kernel.log" 2>&1 || true
  fi
  # It ends well, too, where it finds no userfaultfd and does nothing: the rate has to be there.
  # shellcheck disable=SC2016
  row "stress-ng" 60 stress_note bash -c 'set -o pipefail; "$@" 2>&1 | tee out; r=$?
    grep -q "nanosecs per page fault" out || { echo "it measured nothing"; exit 1; }; exit $r' \
    stress "${launcher[@]}" "${run[@]}" 20s
}

qemu() {
  if [ -z "$list" ] && ! { [ -e "$build/guest.elf" ] && command -v qemu-system-x86_64 >/dev/null; }; then
    skip "qemu" "needs an x86-64 machine and the package qemu-system-x86"
    return
  fi
  row "qemu background-snapshot" 200 last_line \
    python3 "$parts/qemu.py" snapshot "$build/guest.elf" -- "${launcher[@]}" qemu-system-x86_64
  row "qemu postcopy-ram" 200 last_line \
    python3 "$parts/qemu.py" postcopy "$build/guest.elf" -- "${launcher[@]}" qemu-system-x86_64
}

demos() {
  row "demo" 30 nothing "${launcher[@]}" "$build/demo"
  row "demo AddressSanitizer" 60 nothing "${launcher[@]}" "$build/demo-asan"
  row "demo ThreadSanitizer" 60 nothing "${launcher[@]}" "$build/demo-tsan"
}

# Another library in front of libc, beside ours.
beside() {
  local library=$1
  if [ -z "$list" ] && ! ldconfig -p | grep -q "$library"; then
    skip "demo with $library" "$library is not installed"
    return
  fi
  row "demo with $library" 30 nothing env LD_PRELOAD="$library" "${launcher[@]}" "$build/demo"
}

# The suite with libc's names alone: under `userfault run` the kernel's userfaultfd that it asks for is ours.
conformance() {
  row "conformance suite" 900 last_line "${launcher[@]}" "$root/build/bin/userfault" conform --engine kernel
}

plain() {
  local name
  for name in python3 git gcc redis-server; do
    row "plain $name" 120 last_line env BASE="${base[*]}" UNDER="${launcher[*]}" python3 "$parts/plain.py" "$name"
  done
}

all_rows() {
  selftests
  stress_ng
  qemu
  demos
  beside libjemalloc.so.2
  beside libeatmydata.so
  row "descriptor over SCM_RIGHTS" 30 nothing python3 "$parts/passing.py" -- "${launcher[@]}"
  conformance
  plain
}

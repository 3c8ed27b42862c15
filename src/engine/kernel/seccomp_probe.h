// SPDX-License-Identifier: Apache-2.0
// Whether a method can be tried in this process at all.
//
// A seccomp filter may answer userfaultfd(2) with SIGSYS (Android's does): the first attempt in
// this process is then the last. So where the calling thread has a filter, a child process goes
// first.
//
//   The child shares our memory and we wait for it (CLONE_VM | CLONE_VFORK), because a copy of the
//   page tables costs milliseconds per gigabyte, and because fork would raise EVENT_FORK on a
//   userfaultfd that is already open and wait for a monitor that may be the very thread that asks.
//   Before Linux 5.16 a core dump killed every process that shares the memory, so there the child
//   is a plain fork.
//   It dumps no core: RLIMIT_CORE of 1 stops both a file and a pipe (core(5), fs/coredump.c).
//   All signals are blocked around it, so that no handler of the program runs in the child; SIGSYS
//   is forced, a blocked one kills whatever its disposition, which makes RET_TRAP a plain death.
//   The child has no exit signal: the program sees no SIGCHLD, and its wait(2) does not find it.
//
// What is learned is kept per thread (filters are a thread's) and for as long as the number of
// filters stays the same; filters are only ever added.
//
// Rejected: reading the filter (PTRACE_SECCOMP_GET_FILTER wants CAP_SYS_ADMIN); a SIGSYS handler
// (cannot stop RET_KILL). Not survived: a filter that kills clone(2) as well. Where a program
// installs one, it has to ask for the user engine by name.
//
// Cost, measured on Linux 6.18 (2-core VM, where open and close alone take 5 µs): 12 µs an open for
// the look into /proc/thread-self/status; under a filter 60 to 160 µs more for a thread's first
// open of a kind, with 1 GiB of small pages mapped as with none.
#pragma once

#include "engine/open_methods.h"

namespace userfault::engine::kernel {

// What /proc/thread-self/status says.
struct SeccompState {
  int mode = -1;     // 0 none, 1 strict, 2 filter; -1 not known
  int filters = -1;  // how many (Linux 5.9); -1 not known
};
[[nodiscard]] SeccompState seccomp_state() noexcept;

// Whether trying `method` with `flags` kills; asks a child where it has to.
[[nodiscard]] bool would_kill(OpenMethod method, int flags) noexcept;

// One attempt in a child, whatever the filters. Public for its test.
[[nodiscard]] Answer ask_in_child(OpenMethod method, int flags) noexcept;

}  // namespace userfault::engine::kernel

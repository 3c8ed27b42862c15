// SPDX-License-Identifier: Apache-2.0
// System calls that go past libc: hand-written assembly, Go's runtime, libraries with calls of their
// own.
//
// A seccomp filter turns those into SIGSYS (SECCOMP_RET_TRAP), whose handler does what syscall(3)
// does (dispatch.h). It is installed in all threads when the first descriptor of ours is opened, and
// traps the numbers that dispatch.h lists when they come from code that is watched: the program and
// its libraries as they are loaded then, but for libc, its loader, sanitizers' runtimes, and us.
//
// Watching code rather than exempting it is what lets a program go on to another one: a filter stays
// over execve(2), the handler does not. The next program's code lies elsewhere, because addresses are
// random, and where it does not, the library is loaded there as well and handles what traps. The code
// of a program that is linked to a fixed address is not watched: what it starts may be static and lie
// at the same one.
//
// Rejected, docs/preload.md has the figures: SECCOMP_RET_USER_NOTIF, two switches of context a call
// and ENOSYS for every program that is started later; PR_SYSCALL_USER_DISPATCH, which exec clears, but
// which each thread has to ask for itself, and which traps every system call there is.
#pragma once

namespace userfault::preload {

// Once, after the first descriptor of ours was opened: whether the filter is in force. What cannot be had is
// logged and done without.
[[nodiscard]] bool trap_raw_calls() noexcept;
// At the start of a program: a filter of the one before may be in force.
void expect_inherited_traps() noexcept;

}  // namespace userfault::preload

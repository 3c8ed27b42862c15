// SPDX-License-Identifier: Apache-2.0
// fork(2) of a process whose memory the user engine serves.
//
// The three functions are pthread_atfork handlers, registered when the library is loaded: then the engine's
// is the last to run before the fork and the first to run in the child, whose memory is whole before
// any other handler looks at it. The preload library, which sees copies without libc's fork (a raw clone(2)
// without CLONE_VM), calls them around it, in the thread that makes the copy. vfork(2) and other
// copies that share the memory need nothing.
#pragma once

namespace userfault::engine::user {

// Registers the handlers, once. A constructor does it; opening a descriptor does it too, which
// also brings this file into a program that links the static library.
void watch_forks() noexcept;

// Blocks the thread's signals and holds the engine still until one of the others has run.
void before_fork() noexcept;
// Also when the fork failed. Returns when the child has its memory and the monitors have read their
// fork events.
void after_fork_in_parent() noexcept;
void after_fork_in_child() noexcept;

// exit(2) of one thread. Where nothing but the engine's own thread would be left, the process ends, as it
// would without that.
[[noreturn]] void end_thread(int status) noexcept;

}  // namespace userfault::engine::user

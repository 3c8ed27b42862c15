// SPDX-License-Identifier: Apache-2.0
// Which process this is: the one whose tables these are, a copy of it, or a child that borrows its memory.
//
// Threads: any; also in a signal handler.
#pragma once

namespace userfault::engine::user {

// Notes that the tables are this process's: before the first fault, and in the child of a fork that takes them over.
void mark_own_process() noexcept;
// False in a copy of the process that was made without libc's fork (a raw clone(2)), until mark_own_process() ran
// there: no monitor looks at its faults, so they must not be queued.
[[nodiscard]] bool is_own_process() noexcept;
// True in a child that has this process's memory as its own for a while (vfork(2), CLONE_VM).
[[nodiscard]] bool is_borrowing_process() noexcept;

}  // namespace userfault::engine::user

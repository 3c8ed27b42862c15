// SPDX-License-Identifier: Apache-2.0
// What libc does to the memory layout by itself: free(3), realloc(3) and malloc_trim(3) give memory back
// with brk, munmap and madvise, and so do the stacks of threads that end. Those calls go from one function
// of libc's to another and past every symbol.
//
// The way: the functions munmap, madvise, mprotect and brk of libc are sent to ours by a jump in the place
// of their first instruction, in the process's own copy of that page. That instruction loads the number of
// the system call and is exactly as long as the jump, so that no thread can be in the middle of it; where a
// libc looks different nothing is changed, and the log says so. Rejected: to trap these calls like those of
// other code (trap.h). libc makes some of them with all signals blocked, where a trap kills.
#pragma once

namespace userfault::preload {

// Once, after the first descriptor of ours was opened.
void patch_libc() noexcept;

}  // namespace userfault::preload

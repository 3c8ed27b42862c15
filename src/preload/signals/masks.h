// SPDX-License-Identifier: Apache-2.0
// Signal masks that never hold SIGSEGV for real.
//
// A page fault that a userfaultfd resolves is no signal, so it may happen in a thread that blocks
// every signal; but where SIGSEGV is blocked, a fault kills. A program may block it long before it
// opens its first userfaultfd, in threads that we cannot reach afterwards. So from the start each
// mask that passes through here has SIGSEGV replaced by a mark, SIGSTKFLT, which Linux never sends
// (signal/chain.h); a mask that is read back shows SIGSEGV for the mark. The mark itself is shown,
// too: programs block all signals far more often than they ask for that one.
//
// SIGSYS, by which system calls that go past libc are seen (trap.h), is left out likewise; it shares the
// mark, since who blocks it blocks everything.
//
// With USERFAULT_ENGINE=kernel masks are left alone.
#pragma once

#include <signal.h>

#include "engine/user/rt/syscall.h"

namespace userfault::preload {

// The same for the kernel's form of a mask.
[[nodiscard]] engine::user::SignalMask real_mask_of(engine::user::SignalMask wanted) noexcept;
[[nodiscard]] engine::user::SignalMask shown_mask_of(engine::user::SignalMask read) noexcept;

// What may be set in place of a program's mask. Null stays null.
class RealMask {
 public:
  explicit RealMask(const sigset_t* wanted) noexcept;
  [[nodiscard]] const sigset_t* get() const noexcept { return pointer_; }

 private:
  sigset_t mask_;
  const sigset_t* pointer_;
};

// A mask that was read, as the program knows it. Null is allowed.
void show_mask(sigset_t* read) noexcept;

// At the start: a mask inherited over exec may hold SIGSEGV.
void mark_inherited_mask() noexcept;

}  // namespace userfault::preload

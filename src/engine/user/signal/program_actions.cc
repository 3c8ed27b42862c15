// SPDX-License-Identifier: Apache-2.0
#include "engine/user/signal/program_actions.h"

namespace userfault::engine::user {

ProgramAction::Writer::Writer(ProgramAction& action) noexcept : of_(action) {
  raw_sigprocmask(SIG_SETMASK, ~SignalMask{0}, &interrupted_);
  const std::int32_t self = sys::getpid();
  for (;;) {
    std::int32_t owner = 0;
    // Acquire pairs with the release in the destructor.
    if (of_.owner_.compare_exchange_weak(owner, self, std::memory_order_acquire)) return;
    if (owner != 0 && owner != self && of_.owner_.compare_exchange_strong(owner, self, std::memory_order_acquire))
      return;
    raw_syscall(SYS_sched_yield);
  }
}

ProgramAction::Writer::~Writer() {
  of_.owner_.store(0, std::memory_order_release);
  raw_sigprocmask(SIG_SETMASK, interrupted_);
}

}  // namespace userfault::engine::user

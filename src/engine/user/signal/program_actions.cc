// SPDX-License-Identifier: Apache-2.0
#include "engine/user/signal/program_actions.h"

#include <bit>

namespace userfault::engine::user {

KernelSigaction ProgramAction::load() const noexcept {
  struct Words {
    std::uint64_t at[kWords];
  } words;
  std::uint32_t generation;
  do {
    // Pairs with the release store of the generation: the copy it points to is complete.
    generation = generation_.load(std::memory_order_acquire);
    // Relaxed: the fence below and the one in store() order these against the generation.
    for (int i = 0; i < kWords; ++i) words.at[i] = copies_[generation % 2][i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
  } while (generation_.load(std::memory_order_relaxed) != generation);
  return std::bit_cast<KernelSigaction>(words);
}

ProgramAction::Writer::Writer(ProgramAction& action) noexcept : action_(action) {
  raw_sigprocmask(SIG_SETMASK, ~SignalMask{0}, &interrupted_);
  const std::int32_t self = sys::getpid();
  for (;;) {
    std::int32_t owner = 0;
    // Acquire pairs with the release in the destructor.
    if (action_.owner_.compare_exchange_weak(owner, self, std::memory_order_acquire)) return;
    if (owner != 0 && owner != self && action_.owner_.compare_exchange_strong(owner, self, std::memory_order_acquire))
      return;
    raw_syscall(SYS_sched_yield);
  }
}

ProgramAction::Writer::~Writer() {
  action_.owner_.store(0, std::memory_order_release);
  raw_sigprocmask(SIG_SETMASK, interrupted_);
}

void ProgramAction::Writer::store(const KernelSigaction& fresh) noexcept {
  struct Words {
    std::uint64_t at[kWords];
  };
  const auto words = std::bit_cast<Words>(fresh);
  const std::uint32_t next = action_.generation_.load(std::memory_order_relaxed) + 1;
  // A reader that sees one of the words below also sees the generation that came before them.
  std::atomic_thread_fence(std::memory_order_release);
  for (int i = 0; i < kWords; ++i) action_.copies_[next % 2][i].store(words.at[i], std::memory_order_relaxed);
  action_.generation_.store(next, std::memory_order_release);
}

}  // namespace userfault::engine::user

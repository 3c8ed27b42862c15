// SPDX-License-Identifier: Apache-2.0
// One signal's disposition as the program sees it, in static storage.
//
// Readers are signal handlers: they must neither wait for a writer that they interrupted nor see
// half an action. So there are two copies and a generation that says which one holds (the kernel's
// seqcount_latch): a writer fills the other copy and then turns the generation. Writers exclude
// each other with a lock that is taken with all signals blocked, hence never by a thread against
// itself. It holds the process id: a child of fork(2) recognises a lock whose owner it left behind.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/user/signal/kernel_signal.h"

namespace userfault::engine::user {

class ProgramAction {
 public:
  [[nodiscard]] KernelSigaction load() const noexcept;

  // Holds off other writers, with all signals blocked, while it lives.
  class Writer {
   public:
    explicit Writer(ProgramAction& action) noexcept;
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    void store(const KernelSigaction& fresh) noexcept;

   private:
    ProgramAction& action_;
    SignalMask interrupted_ = 0;
  };

 private:
  static constexpr int kWords = 4;
  std::atomic<std::uint64_t> copies_[2][kWords] = {};
  std::atomic<std::uint32_t> generation_ = 0;
  std::atomic<std::int32_t> owner_ = 0;
};

}  // namespace userfault::engine::user

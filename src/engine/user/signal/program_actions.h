// SPDX-License-Identifier: Apache-2.0
// One signal's disposition as the program sees it, in static storage.
//
// Readers are signal handlers: they must neither wait for a writer that they interrupted nor see half an action, so the
// action is a latch (seqlock.h). Writers exclude each other with a lock that is taken with all signals blocked, hence
// never by a thread against itself. It holds the process id: a child of fork(2) recognises a lock whose owner it left
// behind.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/user/rt/seqlock.h"
#include "engine/user/signal/kernel_signal.h"

namespace userfault::engine::user {

class ProgramAction {
 public:
  [[nodiscard]] KernelSigaction load() const noexcept { return action_.load(); }

  // Holds off other writers, with all signals blocked, while it lives.
  class Writer {
   public:
    explicit Writer(ProgramAction& action) noexcept;
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    void store(const KernelSigaction& fresh) noexcept { of_.action_.store(fresh); }

   private:
    ProgramAction& of_;
    SignalMask interrupted_ = 0;
  };

 private:
  Latch<KernelSigaction> action_;
  std::atomic<std::int32_t> owner_ = 0;
};

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// How the threads that need memory wake those that make room. Threads: any. A leaf lock.
#pragma once

#include <atomic>
#include <chrono>

#include "base/mutex.h"

namespace userfault::pager {

class ReclaimBell {
 public:
  // Memory is getting scarce. Costs a load where a reclaimer has been told already.
  void hint() {
    if (wanted_.exchange(true)) return;
    const base::MutexLock lock(mutex_);
    changed_.notify_one();
  }
  // A fault waits for memory: a reclaimer that sleeps is woken even where another one is at work.
  void ring() {
    const base::MutexLock lock(mutex_);
    wanted_ = true;
    changed_.notify_one();
  }
  // Until it is rung, or for so long. False: the pager ends.
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds longest) {
    const auto until = std::chrono::steady_clock::now() + longest;
    const base::MutexLock lock(mutex_);
    while (!stopping_ && !wanted_ && changed_.wait_until(mutex_, until)) {
    }
    return take();
  }
  [[nodiscard]] bool wait() {
    const base::MutexLock lock(mutex_);
    while (!stopping_ && !wanted_) changed_.wait(mutex_);
    return take();
  }
  // Without waiting.
  [[nodiscard]] bool look() {
    const base::MutexLock lock(mutex_);
    return take();
  }

  void stop() {
    const base::MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] bool stopping() const noexcept { return stopping_; }

 private:
  [[nodiscard]] bool take() USERFAULT_REQUIRES(mutex_) {
    wanted_ = false;
    return !stopping_;
  }

  base::Mutex mutex_;
  base::Condition changed_;
  std::atomic<bool> wanted_{false};
  std::atomic<bool> stopping_{false};
};

}  // namespace userfault::pager

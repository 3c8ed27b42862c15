// SPDX-License-Identifier: Apache-2.0
// What the thread that answers a fault brings along on its way down to the store.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "base/mutex.h"

namespace userfault::pager {

// One worker's right to read messages. It may be given away at any time, from any depth of calls, and comes
// back with take() alone; the analysis of locks cannot follow that, so held() says whether it is there.
class Lead {
 public:
  explicit Lead(base::Mutex& mutex) noexcept : mutex_(mutex) {}
  Lead(const Lead&) = delete;
  Lead& operator=(const Lead&) = delete;
  ~Lead() { hand_over(); }

  [[nodiscard]] bool held() const noexcept { return held_; }
  // The analysis loses track of a lock that is taken in one call and given up in another.
  void take() USERFAULT_NO_THREAD_SAFETY_ANALYSIS {
    USERFAULT_CHECK(!held_, "a worker takes the lead that it has");
    mutex_.lock();
    held_ = true;
  }
  void hand_over() USERFAULT_NO_THREAD_SAFETY_ANALYSIS {
    if (!held_) return;
    held_ = false;
    mutex_.unlock();
  }

 private:
  base::Mutex& mutex_;
  bool held_ = false;
};

// A thread that others count on. It is told before it waits, as often as it does.
class CountedOn {
 public:
  virtual void before_waiting() = 0;

 protected:
  ~CountedOn() = default;
};

class FaultContext {
 public:
  // A thread that no fault waits for but its own: a prefetcher, a reclaimer, pin(), a worker that stays alone.
  explicit FaultContext(std::uint64_t since_ns = 0) noexcept : since_ns_(since_ns) {}
  // A worker that has others beside it, or can have.
  FaultContext(CountedOn& thread, std::uint64_t since_ns) noexcept : thread_(&thread), since_ns_(since_ns) {}

  // Whether the thread may wait for a device without a word.
  [[nodiscard]] bool may_wait() const noexcept { return thread_ == nullptr; }
  // Called before the thread waits for a slow store or for a free buffer: another worker reads on.
  void before_waiting() const {
    if (thread_ != nullptr) thread_->before_waiting();
  }
  // When the fault's message was read.
  [[nodiscard]] std::uint64_t since_ns() const noexcept { return since_ns_; }

 private:
  CountedOn* thread_ = nullptr;
  std::uint64_t since_ns_;
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// A mutex, its lock and its condition, with the words that clang's thread-safety analysis needs.
// They are std::mutex and std::condition_variable and cost what those cost. Not for signal handlers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/thread_annotations.h"

namespace userfault::base {

class USERFAULT_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() USERFAULT_ACQUIRE() { mutex_.lock(); }
  void unlock() USERFAULT_RELEASE() { mutex_.unlock(); }
  [[nodiscard]] bool try_lock() USERFAULT_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

// Holds the mutex from its construction to the end of its block.
class USERFAULT_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) USERFAULT_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() USERFAULT_RELEASE() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

// A condition variable. The predicate is a loop around wait() in the caller, where the analysis can
// see that the mutex is held:  while (!ready_) changed_.wait(mutex_);
class Condition {
 public:
  Condition() = default;
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  // Gives the mutex up while it waits and holds it again on return. May return without a reason.
  void wait(Mutex& mutex) USERFAULT_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // The same; false when the time ran out first.
  template <typename Clock, typename Duration>
  [[nodiscard]] bool wait_until(Mutex& mutex, std::chrono::time_point<Clock, Duration> deadline)
      USERFAULT_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = condition_.wait_until(lock, deadline);
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace userfault::base

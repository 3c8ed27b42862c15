// SPDX-License-Identifier: Apache-2.0
// A mutex, its lock and its condition, with the words that clang's thread-safety analysis needs.
// They are std::mutex, std::shared_mutex and std::condition_variable and cost what those cost. Not for signal handlers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

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

// A mutex that one thread holds to write, or several hold to read.
class USERFAULT_CAPABILITY("shared_mutex") SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock() USERFAULT_ACQUIRE() { mutex_.lock(); }
  void unlock() USERFAULT_RELEASE() { mutex_.unlock(); }
  void lock_shared() USERFAULT_ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void unlock_shared() USERFAULT_RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

// Holds the mutex to write, from its construction to the end of its block.
class USERFAULT_SCOPED_CAPABILITY WriterLock {
 public:
  explicit WriterLock(SharedMutex& mutex) USERFAULT_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;
  ~WriterLock() USERFAULT_RELEASE() { mutex_.unlock(); }

 private:
  SharedMutex& mutex_;
};

// Holds the mutex to read, from its construction to the end of its block.
class USERFAULT_SCOPED_CAPABILITY ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mutex) USERFAULT_ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex_.lock_shared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;
  ~ReaderLock() USERFAULT_RELEASE() { mutex_.unlock_shared(); }

 private:
  SharedMutex& mutex_;
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

// SPDX-License-Identifier: Apache-2.0
// Locks for code that may run inside a signal handler: a futex word each, no libc.
//
// A thread that holds one must not be interrupted by a handler of the program that touches served
// memory, so a function that takes one has SignalsBlocked on its stack first. Synchronous signals stay
// open: the only faults under a lock are those of guarded copies (copy.h), which never wait.
//
// Lock order: Space::lock, then Extent::protection, then Extent::chunks, then Instance::lock. No thread sleeps for a
// monitor under any of them.
#pragma once

#include <signal.h>

#include <atomic>

#include "engine/user/rt/check.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

#if defined(__x86_64__)
inline void pause_cpu() noexcept { asm volatile("pause"); }
#else
inline void pause_cpu() noexcept { asm volatile("yield"); }
#endif

inline constexpr SignalMask kSynchronous =
    bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGILL) | bit_of(SIGFPE) | bit_of(SIGTRAP) | bit_of(SIGSYS);

class SignalsBlocked {
 public:
  SignalsBlocked() noexcept : previous_(sys::swap_signal_mask(~kSynchronous)) {}
  ~SignalsBlocked() { sys::set_signal_mask(previous_); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  [[nodiscard]] SignalMask previous() const noexcept { return previous_; }

 private:
  SignalMask previous_;
};

// Whether the task was ended, reaped or not.
[[nodiscard]] bool has_ended(int tid) noexcept;

class Mutex {
 public:
  // A robust lock: a task that clone(2) made with the memory alone (CLONE_VM without CLONE_THREAD) can be killed by
  // itself while it holds it, and the next waiter takes over. What the lock guards is whole except for the moment of
  // the change itself.
  void lock_as(int tid) noexcept {
    lock();
    owner_.store(tid, std::memory_order_relaxed);
  }
  void lock() noexcept {
    std::uint32_t free = 0;
    // Acquire pairs with the release in unlock().
    if (word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) return;
    for (int spin = 0; spin < 200; ++spin) {
      free = 0;
      if (word_.compare_exchange_weak(free, 1, std::memory_order_acquire)) return;
      pause_cpu();
    }
    constexpr timespec kLong{.tv_sec = 0, .tv_nsec = 100'000'000};
    constexpr long kTimedOut = -110;
    while (word_.exchange(2, std::memory_order_acquire) != 0)
      if (sys::futex_wait(&word_, 2, &kLong) == kTimedOut && take_over()) return;
  }
  void unlock() noexcept {
    owner_.store(0, std::memory_order_relaxed);
    const std::uint32_t held = word_.exchange(0, std::memory_order_release);
    USERFAULT_INVARIANT(held != 0, "a mutex was unlocked that no thread holds");
    if (held == 2) sys::futex_wake(&word_, 1);
  }
  [[nodiscard]] bool is_held() const noexcept { return word_.load(std::memory_order_relaxed) != 0; }
  // The child of a fork starts with its own, whatever the parent's threads held.
  void reset() noexcept {
    owner_.store(0);
    word_.store(0);
  }

 private:
  bool take_over() noexcept {
    int owner = owner_.load(std::memory_order_relaxed);
    return owner != 0 && has_ended(owner) && owner_.compare_exchange_strong(owner, 0, std::memory_order_acquire);
  }

  std::atomic<std::uint32_t> word_{0};
  std::atomic<int> owner_{0};
};

// Many readers or one writer; a writer that waits keeps further readers out, so it is not starved.
class SharedMutex {
 public:
  void lock_shared() noexcept {
    for (;;) {
      std::uint32_t seen = word_.load(std::memory_order_relaxed);
      // Acquire pairs with the release in unlock().
      if ((seen & (kWriter | kWriterWaits)) == 0 &&
          word_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire))
        return;
      if ((seen & (kWriter | kWriterWaits)) != 0) sys::futex_wait(&word_, seen, nullptr);
    }
  }
  void unlock_shared() noexcept {
    // Release pairs with the writer's acquire.
    const std::uint32_t before = word_.fetch_sub(1, std::memory_order_release);
    USERFAULT_INVARIANT((before & ~(kWriter | kWriterWaits)) != 0 && (before & kWriter) == 0,
                        "a shared lock was released that no thread holds");
    const std::uint32_t left = before - 1;
    if (left == kWriterWaits) sys::futex_wake(&word_, INT32_MAX);
  }
  void lock() noexcept {
    for (;;) {
      std::uint32_t seen = word_.load(std::memory_order_relaxed);
      if ((seen & ~kWriterWaits) == 0) {
        // Other writers that wait set the bit again when they wake. Acquire pairs with both unlocks.
        if (word_.compare_exchange_weak(seen, kWriter, std::memory_order_acquire)) break;
        continue;
      }
      if ((seen & kWriterWaits) == 0 && !word_.compare_exchange_weak(seen, seen | kWriterWaits)) continue;
      sys::futex_wait(&word_, seen | kWriterWaits, nullptr);
    }
    count_write();
    // What the writer changes is not seen before the count is odd. Pairs with the fence in
    // looked_at_whole().
    std::atomic_thread_fence(std::memory_order_release);
  }
  void unlock() noexcept {
    count_write();
    const std::uint32_t held = word_.exchange(0, std::memory_order_release);
    USERFAULT_INVARIANT((held & ~kWriterWaits) == kWriter, "an exclusive lock was released that no thread holds");
    sys::futex_wake(&word_, INT32_MAX);
  }
  // By any thread: what a function that needs the lock can check.
  [[nodiscard]] bool is_held() const noexcept { return (word_.load(std::memory_order_relaxed) & ~kWriterWaits) != 0; }
  [[nodiscard]] bool is_held_exclusively() const noexcept {
    return (word_.load(std::memory_order_relaxed) & kWriter) != 0;
  }
  void reset() noexcept {
    word_.store(0);
    if ((writes_.load() & 1) != 0) count_write();
  }

  // A look without the lock, at memory that stays mapped: what was read between the two counts as a whole if no
  // writer held the lock then. An odd number from begin_look() means that one does.
  [[nodiscard]] std::uint32_t begin_look() const noexcept { return writes_.load(std::memory_order_acquire); }
  [[nodiscard]] bool looked_at_whole(std::uint32_t begun) const noexcept {
    std::atomic_thread_fence(std::memory_order_acquire);
    return (begun & 1) == 0 && writes_.load(std::memory_order_relaxed) == begun;
  }

 private:
  // Twice for each writer, which alone changes it; release pairs with the acquire of begin_look().
  void count_write() noexcept { writes_.store(writes_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  std::atomic<std::uint32_t> writes_{0};
  static constexpr std::uint32_t kWriter = 1U << 31;
  static constexpr std::uint32_t kWriterWaits = 1U << 30;
  std::atomic<std::uint32_t> word_{0};
};

template <typename Lock>
class Locked {
 public:
  explicit Locked(Lock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~Locked() { lock_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Lock& lock_;
};

class LockedShared {
 public:
  explicit LockedShared(SharedMutex& lock) noexcept : lock_(lock) { lock_.lock_shared(); }
  ~LockedShared() { lock_.unlock_shared(); }
  LockedShared(const LockedShared&) = delete;
  LockedShared& operator=(const LockedShared&) = delete;

 private:
  SharedMutex& lock_;
};

}  // namespace userfault::engine::user

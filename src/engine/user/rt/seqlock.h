// SPDX-License-Identifier: Apache-2.0
// Data that signal handlers read without a lock, while one thread may be changing it.
//
//   SharedWords<T>   a T as atomic words: to read it while it changes gives a mixture, but is no data race
//   SequenceCount    odd while a change is under way; a reader that met one reads again. It waits for the writer, so a
//                    writer has all signals blocked and does not fault: no reader ever interrupts it (seqcount_t of
//                    the kernel).
//   Latch<T>         two copies and a count that says which one holds, for readers that may interrupt the writer: they
//                    never wait for it (seqcount_latch_t of the kernel).
//
// Threads: readers any, also in a signal handler. One writer at a time, which the caller sees to.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "engine/user/rt/check.h"
#include "engine/user/rt/lock.h"

namespace userfault::engine::user {

template <typename T>
class SharedWords {
 public:
  // Relaxed: the count orders them.
  [[nodiscard]] T load() const noexcept {
    Words words;
    for (std::size_t i = 0; i < kWords; ++i) words.at[i] = words_[i].load(std::memory_order_relaxed);
    return std::bit_cast<T>(words);
  }
  void store(const T& value) noexcept {
    const auto words = std::bit_cast<Words>(value);
    for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words.at[i], std::memory_order_relaxed);
  }
  // One of the words alone, which is not mixed with anything.
  [[nodiscard]] std::uint64_t word(std::size_t index) const noexcept {
    return words_[index].load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t kWords = sizeof(T) / sizeof(std::uint64_t);
  struct Words {
    std::uint64_t at[kWords];
  };
  static_assert(sizeof(Words) == sizeof(T));
  std::atomic<std::uint64_t> words_[kWords] = {};
};

class SequenceCount {
 public:
  // Waits until no change is under way.
  [[nodiscard]] std::uint32_t begin_reading() const noexcept {
    for (std::uint32_t looks = 0;; ++looks) {
      // Acquire pairs with the release of end_change().
      const std::uint32_t count = count_.load(std::memory_order_acquire);
      if (count % 2 == 0) return count;
      if (looks < kLooks) pause_cpu();
      else raw_syscall(SYS_sched_yield);
    }
  }
  // Whether what was read since begin_reading() returned `count` must be read again.
  [[nodiscard]] bool has_changed(std::uint32_t count) const noexcept {
    // Pairs with the fence of begin_change(): a reader that saw a word of the change sees the odd count.
    std::atomic_thread_fence(std::memory_order_acquire);
    return count_.load(std::memory_order_relaxed) != count;
  }
  void begin_change() noexcept {
    const std::uint32_t count = count_.load(std::memory_order_relaxed);
    USERFAULT_INVARIANT(count % 2 == 0, "two threads change what signal handlers read");
    count_.store(count + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  void end_change() noexcept {
    const std::uint32_t count = count_.load(std::memory_order_relaxed);
    USERFAULT_INVARIANT(count % 2 == 1, "a change of what signal handlers read ended before it began");
    count_.store(count + 1, std::memory_order_release);
  }
  // In the child of a fork, which may have been made in the middle of a change.
  void reset() noexcept { count_.store(0); }

 private:
  static constexpr std::uint32_t kLooks = 64;
  std::atomic<std::uint32_t> count_{0};
};

template <typename T>
class Latch {
 public:
  [[nodiscard]] T load() const noexcept {
    for (;;) {
      // Acquire pairs with the release of store(): the copy that the count names is whole.
      const std::uint32_t count = count_.load(std::memory_order_acquire);
      const T value = copies_[count % 2].load();
      // Pairs with the fence of store(): a reader that saw a word of the next but one sees the next count.
      std::atomic_thread_fence(std::memory_order_acquire);
      if (count_.load(std::memory_order_relaxed) == count) return value;
    }
  }
  void store(const T& value) noexcept {
    const std::uint32_t next = count_.load(std::memory_order_relaxed) + 1;
    std::atomic_thread_fence(std::memory_order_release);
    copies_[next % 2].store(value);
    count_.store(next, std::memory_order_release);
  }

 private:
  SharedWords<T> copies_[2] = {};
  std::atomic<std::uint32_t> count_{0};
};

}  // namespace userfault::engine::user

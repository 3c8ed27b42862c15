// SPDX-License-Identifier: Apache-2.0
// How many bytes the mappings of a pager may take, take, and have not written back.
//
// Memory is taken before a page is asked for and given back when it is dropped or was not filled,
// so what is on its way counts too. Threads: any; nothing here blocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace userfault::pager {

class Budget {
 public:
  // Zero means no limit, and `write_back_at` the default.
  Budget(std::uint64_t limit, std::uint64_t write_back_at) noexcept
      : limit_(limit),
        slack_(std::min(limit / 16, kMostSlack)),
        write_back_at_(write_back_at != 0 ? write_back_at
                       : limit != 0       ? limit / 4
                                          : UINT64_MAX) {}

  [[nodiscard]] bool limited() const noexcept { return limit_ != 0; }
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::uint64_t slack() const noexcept { return slack_; }

  // As many of `most` things of `size` bytes as there is room for.
  [[nodiscard]] std::size_t try_take(std::size_t most, std::size_t size) noexcept {
    if (!limited()) return most;
    std::uint64_t used = used_.load(std::memory_order_relaxed);
    for (;;) {
      const auto room = static_cast<std::size_t>((limit_ - std::min(used, limit_)) / size);
      const std::size_t taken = std::min(most, room);
      // Acquire: who takes what was given back counts it as resident after the giver stopped to.
      if (taken == 0 || used_.compare_exchange_weak(used, used + taken * size, std::memory_order_acquire)) return taken;
    }
  }
  void give(std::uint64_t bytes) noexcept {
    if (limited()) used_.fetch_sub(bytes, std::memory_order_release);
  }
  // Takes what is given back in a moment, whether there is room or not.
  void owe(std::uint64_t bytes) noexcept {
    if (limited()) used_.fetch_add(bytes, std::memory_order_relaxed);
  }
  // Less is free than is kept free for faults to come.
  [[nodiscard]] bool scarce() const noexcept {
    return limited() && used_.load(std::memory_order_relaxed) + slack_ > limit_;
  }

  // In memory, of all mappings: never more than the limit. The sum of what the regions count is not
  // that, because it is taken of one after the other while memory goes from one to the other.
  void add_resident(std::uint64_t bytes) noexcept { resident_.fetch_add(bytes, std::memory_order_relaxed); }
  void subtract_resident(std::uint64_t bytes) noexcept { resident_.fetch_sub(bytes, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t resident() const noexcept { return resident_.load(std::memory_order_relaxed); }

  // Two mappings may not pin so much that nothing is left to work with.
  [[nodiscard]] bool pin(std::uint64_t bytes, std::uint64_t keep) noexcept {
    std::uint64_t pinned = pinned_.load(std::memory_order_relaxed);
    do {
      if (limited() && pinned + bytes + keep > limit_) return false;
    } while (!pinned_.compare_exchange_weak(pinned, pinned + bytes, std::memory_order_relaxed));
    return true;
  }
  // Whether so much is left beside what is pinned.
  [[nodiscard]] bool leaves(std::uint64_t bytes) const noexcept {
    return !limited() || pinned_.load(std::memory_order_relaxed) + bytes <= limit_;
  }
  void unpin(std::uint64_t bytes) noexcept { pinned_.fetch_sub(bytes, std::memory_order_relaxed); }

  void add_dirty(std::uint64_t bytes) noexcept { dirty_.fetch_add(bytes, std::memory_order_relaxed); }
  void subtract_dirty(std::uint64_t bytes) noexcept { dirty_.fetch_sub(bytes, std::memory_order_relaxed); }
  [[nodiscard]] bool too_dirty() const noexcept { return dirty_.load(std::memory_order_relaxed) > write_back_at_; }
  [[nodiscard]] bool still_dirty() const noexcept {
    return dirty_.load(std::memory_order_relaxed) > write_back_at_ / 2;
  }

 private:
  static constexpr std::uint64_t kMostSlack = std::uint64_t{8} << 20;
  const std::uint64_t limit_;
  const std::uint64_t slack_;
  const std::uint64_t write_back_at_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> resident_{0};
  std::atomic<std::uint64_t> pinned_{0};
  std::atomic<std::uint64_t> dirty_{0};
};

}  // namespace userfault::pager

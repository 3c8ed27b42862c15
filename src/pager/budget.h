// SPDX-License-Identifier: Apache-2.0
// How many bytes the mappings of a pager may take, take, and have not written back.
//
// Memory is taken before a page is asked for and given back when it is dropped or was not filled,
// so what is on its way counts too. Threads: any; nothing here blocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "base/check.h"

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

  // Whether a mapping with pages of this size can work at all, beside what is pinned: 0; EINVAL, the limit
  // holds fewer than four of them; ENOMEM, the pins leave fewer than four.
  [[nodiscard]] int admit(std::size_t page_size) noexcept {
    const std::uint64_t least = kLeastPages * page_size;
    if (limited() && limit_ < least) return EINVAL;
    if (limited() && pinned_.load(std::memory_order_relaxed) + least > limit_) return ENOMEM;
    std::size_t largest = largest_page_.load();
    while (largest < page_size && !largest_page_.compare_exchange_weak(largest, page_size)) {
    }
    return 0;
  }

  // As many of `most` pages of `size` bytes as there is room for.
  [[nodiscard]] std::size_t try_take(std::size_t most, std::size_t size) noexcept {
    if (!limited()) return most;
    std::uint64_t used = used_.load(std::memory_order_relaxed);
    for (;;) {
      const auto room = static_cast<std::size_t>((limit_ - std::min(used, limit_)) / size);
      const std::size_t taken = std::min(most, room);
      // Acquire, pairs with the release in give_back(): the taker counts the memory as resident after the
      // giver has stopped to.
      if (taken == 0 || used_.compare_exchange_weak(used, used + taken * size, std::memory_order_acquire)) return taken;
    }
  }
  void give_back(std::uint64_t bytes) noexcept {
    if (!limited()) return;
    const std::uint64_t used = used_.fetch_sub(bytes, std::memory_order_release);
    USERFAULT_CHECK(used >= bytes, "more memory is given back to the budget than was taken");
  }
  // Takes what is given back in a moment, whether there is room or not.
  void borrow(std::uint64_t bytes) noexcept {
    if (limited()) used_.fetch_add(bytes, std::memory_order_relaxed);
  }
  // Less is free than is kept free for faults to come.
  [[nodiscard]] bool scarce() const noexcept {
    return limited() && used_.load(std::memory_order_relaxed) + slack_ > limit_;
  }

  // In memory, of all mappings: never more than the limit. The sum of what the regions count is not
  // that, because it is taken of one after the other while memory goes from one to the other.
  void add_resident(std::uint64_t bytes) noexcept {
    const std::uint64_t before = resident_.fetch_add(bytes, std::memory_order_relaxed);
    USERFAULT_CHECK(!limited() || before + bytes <= limit_, "more is in memory than the budget allows");
  }
  void subtract_resident(std::uint64_t bytes) noexcept {
    const std::uint64_t before = resident_.fetch_sub(bytes, std::memory_order_relaxed);
    USERFAULT_CHECK(before >= bytes, "more memory goes than was resident");
  }
  [[nodiscard]] std::uint64_t resident() const noexcept { return resident_.load(std::memory_order_relaxed); }

  // False: four of the largest pages would not be left for everything else.
  [[nodiscard]] bool pin(std::uint64_t bytes) noexcept {
    const std::uint64_t least = kLeastPages * largest_page_.load();
    std::uint64_t pinned = pinned_.load(std::memory_order_relaxed);
    do {
      if (limited() && pinned + bytes + least > limit_) return false;
    } while (!pinned_.compare_exchange_weak(pinned, pinned + bytes, std::memory_order_relaxed));
    return true;
  }
  void unpin(std::uint64_t bytes) noexcept {
    const std::uint64_t before = pinned_.fetch_sub(bytes, std::memory_order_relaxed);
    USERFAULT_CHECK(before >= bytes, "more is unpinned than was pinned");
  }

  void add_dirty(std::uint64_t bytes) noexcept { dirty_.fetch_add(bytes, std::memory_order_relaxed); }
  void subtract_dirty(std::uint64_t bytes) noexcept {
    const std::uint64_t before = dirty_.fetch_sub(bytes, std::memory_order_relaxed);
    USERFAULT_CHECK(before >= bytes, "more becomes clean than was dirty");
  }
  [[nodiscard]] bool too_dirty() const noexcept { return dirty_.load(std::memory_order_relaxed) > write_back_at_; }
  [[nodiscard]] bool still_dirty() const noexcept {
    return dirty_.load(std::memory_order_relaxed) > write_back_at_ / 2;
  }

 private:
  static constexpr std::uint64_t kMostSlack = std::uint64_t{8} << 20;
  // x86's movs may touch four pages at once, and would never get anywhere with fewer.
  static constexpr std::uint64_t kLeastPages = 4;
  const std::uint64_t limit_;
  const std::uint64_t slack_;
  const std::uint64_t write_back_at_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> resident_{0};
  std::atomic<std::uint64_t> pinned_{0};
  std::atomic<std::uint64_t> dirty_{0};
  std::atomic<std::size_t> largest_page_{0};  // of all mappings that there have been
};

}  // namespace userfault::pager

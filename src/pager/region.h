// SPDX-License-Identifier: Apache-2.0
// The memory of one mapping, its page states, and how to act on it through the descriptor.
//
// Threads: any, between map() and close(). Who works on a region holds a RegionUse; close() waits
// until there is none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "pager/counters.h"
#include "pager/page_states.h"
#include "pager/streams.h"
#include "userfault/pager.h"

namespace userfault::pager {

class Region {
 public:
  // Maps and registers the memory; no page is there yet.
  [[nodiscard]] static Result<std::shared_ptr<Region>> map(const Descriptor& descriptor, std::shared_ptr<Store> store,
                                                           const MapOptions& options, std::size_t most_bytes);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  [[nodiscard]] std::uintptr_t start() const noexcept { return range_.start; }
  [[nodiscard]] PageRange range() const noexcept { return range_; }
  [[nodiscard]] std::size_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] std::size_t pages() const noexcept { return range_.length / page_size_; }
  [[nodiscard]] std::size_t around() const noexcept { return around_; }
  [[nodiscard]] bool detects_streams() const noexcept { return detect_streams_; }
  [[nodiscard]] Store& store() const noexcept { return *store_; }
  [[nodiscard]] PageStates& states() noexcept { return states_; }
  [[nodiscard]] Streams& streams() noexcept { return streams_; }
  [[nodiscard]] std::size_t page_of(std::uintptr_t address) const noexcept {
    return (address - range_.start) / page_size_;
  }
  [[nodiscard]] PageRange range_of(PageSpan span) const noexcept {
    return {range_.start + span.first * page_size_, span.count * page_size_};
  }
  [[nodiscard]] std::uint64_t offset_of(std::size_t page) const noexcept {
    return static_cast<std::uint64_t>(page) * page_size_;
  }
  // How many of the span's bytes the store has; the rest, after its end, is zero.
  [[nodiscard]] std::size_t stored_bytes(PageSpan span) const noexcept;

  // The longest run of pages that could be claimed, from `first` up, `most` at most.
  [[nodiscard]] std::size_t claim_upwards(std::size_t first, std::size_t most) noexcept;
  // The same downwards from below `end`: how many pages right before it are ours now.
  [[nodiscard]] std::size_t claim_downwards(std::size_t end, std::size_t most) noexcept;

  // Fills pages that the caller owns. They keep what was there already, and wake who waits.
  [[nodiscard]] Result<void> install(PageSpan span, const std::byte* bytes) const;
  [[nodiscard]] bool can_zero() const noexcept { return can_zero_; }
  [[nodiscard]] Result<void> install_zeroes(PageSpan span) const;
  // Makes touching the page SIGBUS (where even that fails, SIGSEGV) and wakes who waits.
  void poison(std::size_t page) const;
  void wake(PageSpan span) const;
  // Whether the hardware page at `address` is surely there. False also means: cannot tell.
  [[nodiscard]] bool surely_present(std::uintptr_t address) const;
  // How many bytes of it are in memory.
  [[nodiscard]] Counter& resident() noexcept { return resident_; }
  // Set and read under the prefetch queue's lock: nothing is asked ahead any more.
  [[nodiscard]] bool closing() const noexcept { return closing_; }
  void set_closing() noexcept { closing_ = true; }
  [[nodiscard]] bool in_use() const noexcept { return users_.load(std::memory_order_acquire) != 0; }
  // Unmaps the memory; a thread that waits for a page of it gets SIGSEGV.
  void unmap() noexcept;

 private:
  friend class RegionUse;
  Region(const Descriptor& descriptor, std::shared_ptr<Store> store, const MapOptions& options, PageRange range,
         std::size_t page_size, std::size_t most_bytes);
  [[nodiscard]] RetryPolicy retry() const noexcept;
  template <typename Once>
  [[nodiscard]] Result<void> piecewise(PageRange range, Once once) const;

  const Descriptor& descriptor_;
  const std::shared_ptr<Store> store_;
  PageRange range_;
  const std::size_t page_size_;
  const std::size_t hardware_page_;
  const std::size_t around_;
  const bool detect_streams_;
  bool can_zero_ = true;
  PageStates states_;
  Streams streams_;
  Counter resident_;
  bool closing_ = false;
  std::atomic<std::uint32_t> users_{0};
};

// Tells whoever closes a region that a use of some region has ended. It outlives all regions, so
// the last user of a region touches nothing that its closer may have freed already.
class UseEnded {
 public:
  void notify() noexcept {
    count_.fetch_add(1, std::memory_order_release);
    count_.notify_all();
  }
  [[nodiscard]] std::uint32_t seen() const noexcept { return count_.load(std::memory_order_acquire); }
  void wait(std::uint32_t seen_before) const noexcept { count_.wait(seen_before, std::memory_order_acquire); }

 private:
  std::atomic<std::uint32_t> count_{0};
};

// Keeps a region from being unmapped. Move-only.
class RegionUse {
 public:
  RegionUse() = default;
  RegionUse(Region& region, UseEnded& ended) noexcept : region_(&region), ended_(&ended) {
    // Relaxed: the table's lock orders it before the close that would wait for it.
    region_->users_.fetch_add(1, std::memory_order_relaxed);
  }
  RegionUse(RegionUse&& other) noexcept : region_(std::exchange(other.region_, nullptr)), ended_(other.ended_) {}
  RegionUse& operator=(RegionUse&& other) noexcept {
    if (this != &other) {
      release();
      region_ = std::exchange(other.region_, nullptr);
      ended_ = other.ended_;
    }
    return *this;
  }
  RegionUse(const RegionUse&) = delete;
  RegionUse& operator=(const RegionUse&) = delete;
  ~RegionUse() { release(); }

  [[nodiscard]] RegionUse share() const noexcept { return RegionUse(*region_, *ended_); }
  [[nodiscard]] explicit operator bool() const noexcept { return region_ != nullptr; }
  [[nodiscard]] Region* operator->() const noexcept { return region_; }
  [[nodiscard]] Region& operator*() const noexcept { return *region_; }

 private:
  void release() noexcept {
    if (region_ == nullptr) return;
    // Release, pairs with the acquire in Region::in_use(): our work is done before the unmap.
    if (region_->users_.fetch_sub(1, std::memory_order_release) == 1) ended_->notify();
    region_ = nullptr;
  }
  Region* region_ = nullptr;
  UseEnded* ended_ = nullptr;
};

}  // namespace userfault::pager

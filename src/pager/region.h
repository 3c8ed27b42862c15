// SPDX-License-Identifier: Apache-2.0
// The memory of one mapping, its page states, and how to act on it through the descriptor.
//
// There are two kinds. Without a budget and for reading, it is private anonymous memory: the fastest
// to fill, and nothing but filling is ever done to it. Else it is "managed": a shared memory object.
// What a page holds can then be read through the object without a fault, and its mapping can go
// while its memory stays.
//
// Threads: any, between map() and close(). Who works on a region holds a RegionUse; close() waits
// until there is none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "pager/counters.h"
#include "pager/page_states.h"
#include "pager/pins.h"
#include "pager/streams.h"
#include "userfault/pager.h"

namespace userfault::pager {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// From here on it is worth a mapping of the process to show the store's own file (docs/performance.md).
constexpr std::size_t kLeastMapped = std::size_t{64} << 10;

// From here on the user engine's COPY does not map what it copies (docs/performance-user-engine.md).
constexpr std::size_t kLongCopy = std::size_t{256} << 10;

constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ, Linux 5.14; the libc may not have it

// What the pager's options mean for each of its regions.
struct RegionLimits {
  std::size_t window;  // bytes of one fill, at most
  std::size_t ahead;   // bytes that are fetched ahead at once, at most
  std::size_t leap;    // bytes that are mapped at once, at most, where the store's file is
  bool managed;
  bool scans;  // what was written is found by looking: WriteTracking::kScan
};

// After a store refused a write it is left in peace for a moment, except by flush(). Any thread.
class WriteHold {
 public:
  // How many refusals in a row that makes.
  int refused() noexcept {
    until_ns_ = now_ns() + kPauseNs;
    return ++refusals_;
  }
  void accepted() noexcept {
    if (refusals_ != 0) refusals_ = 0;
  }
  [[nodiscard]] bool active() const noexcept { return refusals_ != 0 && now_ns() < until_ns_; }

 private:
  static constexpr std::uint64_t kPauseNs = 10'000'000;
  std::atomic<int> refusals_{0};
  std::atomic<std::uint64_t> until_ns_{0};
};

class Region {
 public:
  // Maps and registers the memory; no page is there yet.
  [[nodiscard]] static Result<std::shared_ptr<Region>> map(const Descriptor& descriptor, std::shared_ptr<Store> store,
                                                           const MapOptions& options, const RegionLimits& limits);
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
  // The pages that some bytes lie in.
  [[nodiscard]] PageSpan span_of(std::size_t offset, std::size_t length) const noexcept {
    const std::size_t first = offset / page_size_;
    return {first, (offset + length - 1) / page_size_ - first + 1};
  }
  // How many of the span's bytes the store has; the rest, after its end, is zero.
  [[nodiscard]] std::size_t stored_bytes(PageSpan span) const noexcept;

  // The longest run of pages that could be claimed, from `first` up, `most` at most.
  [[nodiscard]] std::size_t claim_upwards(std::size_t first, std::size_t most) noexcept;
  // The same downwards from below `end`: how many pages right before it are ours now.
  [[nodiscard]] std::size_t claim_downwards(std::size_t end, std::size_t most) noexcept;

  // Fills pages that the caller owns. They keep what was there already, and wake who waits. With
  // `protect`, writing to them faults.
  [[nodiscard]] Result<void> install(PageSpan span, const std::byte* bytes, bool protect) const;
  [[nodiscard]] bool can_zero() const noexcept { return can_zero_; }
  [[nodiscard]] Result<void> install_zeroes(PageSpan span) const;

  // The store's own file in the place of pages, where the store allows it: region_file.cc.
  [[nodiscard]] bool maps() const noexcept { return maps_; }
  // How many pages from the front of the span can be shown that way.
  [[nodiscard]] std::size_t mappable(PageSpan span) const noexcept;
  // Shows them, for good: the caller owns them no more, and who waits for them is woken. False: nothing
  // has changed.
  [[nodiscard]] bool map_file(PageSpan span);
  // Has the kernel fetch what the pages show, without waiting for it; and with waiting. False: a part of
  // it cannot be read.
  void fetch_file(PageSpan span) const;
  [[nodiscard]] bool populate_file(PageSpan span) const;

  // Managed regions only; the caller owns the pages.
  [[nodiscard]] bool managed() const noexcept { return object_.valid(); }
  [[nodiscard]] bool writable() const noexcept { return writable_; }
  // Nobody tells when a page is written, and nothing holds a writer off but hide().
  [[nodiscard]] bool scans() const noexcept { return scans_; }
  // For each page of the span, whether it may have been written since it was filled or shown protected.
  // What is not hidden may be written at once after that.
  [[nodiscard]] std::vector<bool> find_written(PageSpan span) const;
  // Copies what the pages hold, as far as the store has bytes, and says which parts of it are real:
  // what the program has removed (MADV_REMOVE) is not. The pages are idle or protected. 0 or a
  // positive errno.
  struct Part {
    std::size_t offset;  // in the copy
    std::size_t length;
  };
  [[nodiscard]] int snapshot(PageSpan span, std::byte* into, std::vector<Part>& real) const;
  // From now on a write faults; false when that cannot be had.
  [[nodiscard]] bool protect(PageSpan span) const;
  // Writes do not fault any more, and who waits for that is woken.
  void allow_writes(std::size_t page) const;
  // From now on any access faults; the memory stays. False when that cannot be had (mlock).
  [[nodiscard]] bool hide(PageSpan span) const;
  // The other way round. 0, or EFAULT: a part of the page is not in memory (MADV_REMOVE).
  [[nodiscard]] int show(std::size_t page, bool protect) const;
  // Gives the memory back. False: it could not be.
  [[nodiscard]] bool drop(PageSpan span) const;

  // Makes touching the page SIGBUS (where even that fails, SIGSEGV) and wakes who waits.
  void poison(std::size_t page) const;
  void wake(PageSpan span) const;
  // Whether the hardware page at `address` is surely there. False also means: cannot tell.
  [[nodiscard]] bool surely_present(std::uintptr_t address) const;
  [[nodiscard]] Counters& counters() noexcept { return counters_; }
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  [[nodiscard]] Pins& pins() noexcept { return pins_; }
  [[nodiscard]] WriteHold& write_hold() noexcept { return write_hold_; }
  // Where the writing back in the background goes on; any value is right.
  [[nodiscard]] std::atomic<std::size_t>& sweep() noexcept { return sweep_; }
  // Nothing is asked ahead any more, and no fault waits for memory.
  [[nodiscard]] bool closing() const noexcept { return closing_; }
  void set_closing() noexcept { closing_ = true; }
  // What is being fetched ahead, from asking the store until the pages are there.
  void fetch_begins() noexcept { fetches_.fetch_add(1); }
  void fetch_ends() noexcept {
    fetches_.fetch_sub(1);
    fetches_.notify_all();
  }
  void wait_for_fetches() const noexcept {
    for (std::uint32_t left = fetches_.load(); left != 0; left = fetches_.load()) fetches_.wait(left);
  }
  [[nodiscard]] bool in_use() const noexcept { return users_.load(std::memory_order_acquire) != 0; }
  // Unmaps the memory; a thread that waits for a page of it gets SIGSEGV.
  void unmap() noexcept;

 private:
  friend class RegionUse;
  Region(const Descriptor& descriptor, std::shared_ptr<Store> store, const MapOptions& options, PageRange range,
         std::size_t page_size, const RegionLimits& limits, base::Fd object);
  [[nodiscard]] RetryPolicy retry() const noexcept;
  template <typename Once>
  [[nodiscard]] Result<void> piecewise(PageRange range, Once once) const;
  [[nodiscard]] Result<void> enlist(bool managed);

  const Descriptor& descriptor_;
  const std::shared_ptr<Store> store_;
  PageRange range_;
  const std::size_t page_size_;
  const std::size_t hardware_page_;
  const std::size_t around_;
  const bool detect_streams_;
  const bool writable_;
  const bool maps_;
  const bool scans_;
  bool can_zero_ = true;
  base::Fd object_;
  PageStates states_;
  Streams streams_;
  Pins pins_;
  Counters counters_;
  WriteHold write_hold_;
  std::mutex mapping_mutex_;
  std::size_t mapped_runs_ = 0;  // of pages that are mapped, with others between them
  std::atomic<std::size_t> sweep_{0};
  std::atomic<bool> closing_{false};
  std::atomic<std::uint32_t> fetches_{0};
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

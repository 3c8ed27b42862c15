// SPDX-License-Identifier: Apache-2.0
// The memory of one mapping, its page states, and how to act on it through the descriptor.
//
// There are two kinds. Without a budget and for reading, it is private anonymous memory: the fastest
// to fill, and nothing but filling is ever done to it. Else it is "managed": a shared memory object.
// What a page holds can then be read through the object without a fault, and its mapping can go
// while its memory stays.
//
// What is done to its pages stands in region_pages.cc, and what concerns the store's own file in
// region_file.cc.
//
// Threads: any, between map() and Core::close(). A thread that works on a region holds a RegionUse; its
// closer waits until there is none. The one lock, of the mapped runs, is a leaf but for page states.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "pager/counters.h"
#include "pager/page_span.h"
#include "pager/page_states.h"
#include "pager/pins.h"
#include "pager/streams.h"
#include "pager/use_count.h"
#include "pager/write_hold.h"
#include "userfault/pager.h"

namespace userfault::pager {

constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ, Linux 5.14; the libc may not have it

// What the pager's options mean for each of its regions.
struct RegionLimits {
  std::size_t window;  // bytes of one fill, at most
  std::size_t ahead;   // bytes that are fetched ahead at once, at most
  std::size_t leap;    // bytes that are mapped at once, at most, where the store's file is
  bool managed;
  bool scans;  // what was written is found by looking: WriteTracking::kScan
};

class Region {
 public:
  // Maps and registers the memory; no page is there yet.
  [[nodiscard]] static Result<std::shared_ptr<Region>> map(const Descriptor& descriptor, std::shared_ptr<Store> store,
                                                           const MapOptions& options, const RegionLimits& limits,
                                                           UseEnded& use_ended);
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
    USERFAULT_CHECK(span.end() * page_size_ <= range_.length, "pages lie behind the end of their region");
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
  // The same downwards from below `end`: how many pages right before it the caller owns now.
  [[nodiscard]] std::size_t claim_downwards(std::size_t end, std::size_t most) noexcept;

  // Fills pages that the caller owns. They keep what was there already, and wake the threads that wait. With
  // `protect`, writing to them faults.
  [[nodiscard]] Result<void> install(PageSpan span, const std::byte* bytes, bool protect) const;
  [[nodiscard]] bool can_zero() const noexcept { return can_zero_; }
  [[nodiscard]] Result<void> install_zeroes(PageSpan span) const;

  // The store's own file in the place of pages, where the store allows it: region_file.cc.
  [[nodiscard]] bool maps() const noexcept { return maps_; }
  // How many pages from the front of the span can be shown that way.
  [[nodiscard]] std::size_t mappable(PageSpan span) const noexcept;
  // Shows them, for good: the caller owns them no more, and the threads that wait for them are woken. False:
  // nothing has changed.
  [[nodiscard]] bool map_file(PageSpan span);
  // Has the kernel fetch what the pages show, without waiting for it; and with waiting. False: a part of
  // it cannot be read.
  void fetch_file(PageSpan span) const;
  [[nodiscard]] bool populate_file(PageSpan span) const;

  // Managed regions only; the caller owns the pages.
  [[nodiscard]] bool managed() const noexcept { return object_.valid(); }
  [[nodiscard]] bool writable() const noexcept { return writable_; }
  // No fault tells when a page is written, and nothing holds a writer off but hide().
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
  // Writes do not fault any more, and the threads that wait for that are woken.
  void allow_writes(std::size_t page) const;
  // From now on any access faults; the memory stays. False when that cannot be had (mlock).
  [[nodiscard]] bool hide(PageSpan span) const;
  // The other way round. 0, or EFAULT: a part of the page is not in memory (MADV_REMOVE).
  [[nodiscard]] int show(std::size_t page, bool protect) const;
  // Gives the memory back. False: it could not be.
  [[nodiscard]] bool drop(PageSpan span) const;

  // Makes touching the page SIGBUS (where even that fails, SIGSEGV) and wakes the threads that wait.
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
    USERFAULT_CHECK(fetches_.fetch_sub(1) != 0, "a fetch ends that never began");
    fetches_.notify_all();
  }
  void wait_for_fetches() const noexcept {
    for (std::uint32_t left = fetches_.load(); left != 0; left = fetches_.load()) fetches_.wait(left);
  }
  // The threads that are at work on it.
  [[nodiscard]] UseCount& uses() noexcept { return uses_; }
  [[nodiscard]] bool in_use() const noexcept { return uses_.any(); }
  // Unmaps the memory; a thread that waits for a page of it gets SIGSEGV.
  void unmap() noexcept;
  // In a copy of the process (Core::in_copy()), which does not have the memory: what is mapped there is another's.
  void close_object_in_copy() noexcept { object_.reset(); }

 private:
  Region(const Descriptor& descriptor, std::shared_ptr<Store> store, const MapOptions& options, PageRange range,
         std::size_t page_size, const RegionLimits& limits, UseEnded& use_ended, base::Fd object);
  [[nodiscard]] RetryPolicy retry() const noexcept;
  // Of a span its first and last page.
  void check_owned(PageSpan span) const noexcept {
    USERFAULT_CHECK(span.count != 0, "an operation acts on no page at all");
    USERFAULT_CHECK(is_owned(states_.get(span.first)) && is_owned(states_.get(span.end() - 1)),
                    "an operation acts on pages that no thread owns");
  }
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
  base::Mutex mapping_mutex_;
  // Of pages that are mapped, with others between them.
  std::size_t mapped_runs_ USERFAULT_GUARDED_BY(mapping_mutex_) = 0;
  std::atomic<std::size_t> sweep_{0};
  std::atomic<bool> closing_{false};
  std::atomic<std::uint32_t> fetches_{0};
  UseCount uses_;
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// Filling pages: from owning them to having them installed, poisoned, or given back.
//
// A Fill is one piece of work: a run of pages, a buffer, a request to the store. The thread that
// asks the store goes on at once; whoever completes the request (the same thread inside read() for
// a store that answers at once, or one of the store's) installs the pages. The number of Fills is
// fixed, which bounds memory and everything that can be in flight.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/mapping.h"
#include "pager/budget.h"
#include "pager/counters.h"
#include "pager/error_log.h"
#include "pager/evictor.h"
#include "pager/region.h"
#include "userfault/pager.h"

namespace userfault::pager {

// The most bytes of one fill, unless one page is larger: what fits the second-level cache twice.
constexpr std::size_t kFillBytes = std::size_t{256} << 10;
// The same of pages that are mapped and not copied: a walk that catches up with what is mapped faults.
constexpr std::size_t kMapBytes = std::size_t{64} << 20;
constexpr std::size_t kStagingBytes = std::size_t{2} << 20;

enum class Cause : std::uint8_t { kFault, kPrefetch };

// Pages that the caller owns, whose memory he has taken from the budget, and why they are filled.
struct FillOrder {
  static constexpr std::size_t kNone = SIZE_MAX;
  PageSpan span;
  std::size_t demanded = kNone;  // the page that a thread waits for: it is poisoned if it must be;
                                 // the others are given back when they cannot be had
  Cause cause = Cause::kFault;
  bool write = false;          // the thread wants to write to the demanded page
  bool may_map = true;         // the store's own file may be shown, where the store allows it
  bool mends = false;          // parts of the demanded page are in memory, perhaps dirty: it stays there
  std::uint64_t since_ns = 0;  // when the fault's message was read
};

class PageFiller {
 public:
  PageFiller(const PagerOptions& options, ErrorLog& errors, Budget& budget, Evictor& evictor, unsigned fills);
  ~PageFiller();
  PageFiller(const PageFiller&) = delete;
  PageFiller& operator=(const PageFiller&) = delete;
  [[nodiscard]] bool valid() const noexcept { return memory_.valid() && zeroes_.valid(); }

  // Fills the order's pages. `before_waiting` is called once, before this thread waits for a slow
  // store or for a free Fill.
  void fill(const RegionUse& region, const FillOrder& order, const std::function<void()>& before_waiting);

  // Makes the page SIGBUS, because of `code`, and gives it back with its memory.
  void poison(Region& region, std::size_t page, int code);
  // Gives a page that was not filled back with its memory. True: wake it.
  [[nodiscard]] bool abandon(Region& region, std::size_t page);

 private:
  struct Fill;

  Fill* take(const std::function<void()>& before_waiting);
  void give(Fill* fill);
  void read(Fill* fill, const std::function<void()>& before_waiting);
  static void on_answer(StoreRequest& request);
  void complete(Fill* fill);
  void recover(Fill* fill);
  void retry_demanded(Fill* fill);

  void bring(Region& region, PageSpan span);
  [[nodiscard]] std::size_t map(Region& region, const FillOrder& order, PageSpan span);
  void install(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes);
  void install_data(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes);
  void install_zeroes(Region& region, const FillOrder& order, PageSpan span);
  void count(Region& region, const FillOrder& order, PageSpan span, bool zeroes, bool back);
  void installed(Region& region, const FillOrder& order, PageSpan span, const Result<void>& result, bool zeroes);
  void give_up(Region& region, const FillOrder& order, PageSpan span, int code);
  void keep(Region& region, std::size_t page, bool dirty);

  const int attempts_;
  const std::chrono::microseconds pause_;
  ErrorLog& errors_;
  Budget& budget_;
  Evictor& evictor_;
  base::OwnedMapping memory_;
  const base::OwnedMapping zeroes_;  // kStagingBytes of them, where UFFDIO_ZEROPAGE does not do
  std::vector<std::unique_ptr<Fill>> all_;

  std::mutex pool_mutex_;
  std::condition_variable pool_changed_;
  std::vector<Fill*> free_;  // the one used last on top: its buffer is still in the cache
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// Filling pages: from owning them to having them in memory, poisoned, or given back.
//
// A StoreRead is one piece of work: a run of pages, a buffer, a request to the store. The thread that
// asks the store goes on at once; the thread that answers the request (the same one inside read() for
// a store that answers at once, or one of the store's) installs the pages. The number of StoreReads is
// fixed, which bounds memory and everything that can be in flight.
//
// Threads: any. The pool's lock is a leaf; no lock is held while the store is asked, but for the lead
// of a worker where the store promised to answer at once.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "base/mutex.h"
#include "pager/budget.h"
#include "pager/error_log.h"
#include "pager/evictor.h"
#include "pager/fault_context.h"
#include "pager/fill_order.h"
#include "pager/region_use.h"
#include "pager/reservation.h"
#include "userfault/pager.h"

namespace userfault::pager {

class PageFiller {
 public:
  PageFiller(const PagerOptions& options, ErrorLog& errors, Budget& budget, Evictor& evictor, unsigned reads);
  ~PageFiller();
  PageFiller(const PageFiller&) = delete;
  PageFiller& operator=(const PageFiller&) = delete;
  [[nodiscard]] bool valid() const noexcept { return memory_.valid() && zeroes_.valid(); }

  // Fills the order's pages.
  void fill(const RegionUse& region, const FillOrder& order, const FaultContext& context);

  // Makes the page SIGBUS, because of `code`, and gives its memory back.
  void poison(Region& region, std::size_t page, int code);

 private:
  struct StoreRead;

  // From the store to bytes.
  [[nodiscard]] PageSpan fill_piece(const RegionUse& region, const FillOrder& order, PageSpan piece,
                                    const FaultContext& context);
  [[nodiscard]] StoreRead* take_read(const FaultContext& context);
  [[nodiscard]] StoreRead* try_take_read();
  void return_read(StoreRead* read);
  void ask_store(StoreRead* read, const FaultContext& context);
  static void on_answer(StoreRequest& request);
  void use_answer(StoreRead* read);
  void salvage(StoreRead* read);
  void retry_demanded(StoreRead* read);

  // From bytes to pages.
  [[nodiscard]] std::size_t show_file(Region& region, const FillOrder& order, PageSpan span);
  void populate_ahead(Region& region, PageSpan span);
  void install_bytes(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes);
  void copy_bytes(Region& region, const FillOrder& order, PageSpan span, const std::byte* bytes);
  void install_zeroes(Region& region, const FillOrder& order, PageSpan span);
  template <typename Operation>
  void reserve_and_install(Region& region, const FillOrder& order, PageSpan span, bool zeroes, Operation operation);

  // From pages to their last step.
  void publish(Region& region, const FillOrder& order, PageSpan span);
  void engine_refused(Region& region, const FillOrder& order, PageSpan span, int code);
  void leave_as_it_was(Region& region, std::size_t page, bool dirty);
  // True: wake the page.
  [[nodiscard]] bool return_absent(Region& region, std::size_t page);
  void return_absent_and_wake(Region& region, PageSpan span);

  const int attempts_;
  const std::chrono::microseconds pause_;
  ErrorLog& errors_;
  Budget& budget_;
  Evictor& evictor_;
  base::OwnedMapping memory_;
  const base::OwnedMapping zeroes_;  // kStagingBytes of them, where UFFDIO_ZEROPAGE does not do
  std::vector<std::unique_ptr<StoreRead>> all_;

  base::Mutex mutex_;
  base::Condition returned_;
  std::vector<StoreRead*> free_ USERFAULT_GUARDED_BY(mutex_);  // the one used last on top: its buffer is in the cache
};

}  // namespace userfault::pager

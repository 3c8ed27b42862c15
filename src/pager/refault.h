// SPDX-License-Identifier: Apache-2.0
// Faults on managed pages that are in memory already: the first write to a page, a page that was
// hidden to see whether it is still used, one that the program dropped (MADV_DONTNEED) or removed
// (MADV_REMOVE), and messages that are older than the page.
//
// Threads: any; no lock of its own.
#pragma once

#include "pager/budget.h"
#include "pager/fault_context.h"
#include "pager/page_filler.h"
#include "pager/reclaim_bell.h"
#include "pager/region_use.h"

namespace userfault::pager {

class RefaultHandler {
 public:
  RefaultHandler(Budget& budget, PageFiller& filler, ReclaimBell& bell) noexcept
      : budget_(budget), filler_(filler), bell_(bell) {}

  // The caller owns the page, which was in state `was`, in memory.
  void resolve(const RegionUse& region, std::size_t page, PageState was, const Fault& fault,
               const FaultContext& context);
  // The page does not count as in memory any more. Its memory stays taken.
  void forget_content(Region& region, PageState was);

 private:
  struct Access {
    bool write;      // the thread wants to write
    bool was_dirty;  // as far as can be told
  };
  // Has the page in the page table again: 0, or a positive errno. EFAULT: a part of it is not in memory. `open`: it
  // could not be protected, and may be written from now on.
  [[nodiscard]] static int show(Region& region, std::size_t page, const Access& access, bool& open);
  static void count(Region& region, PageState was, const Fault& fault, const Access& access);
  void fill_in_place(const RegionUse& region, std::size_t page, bool dirty, PageState was, const FaultContext& context);

  Budget& budget_;
  PageFiller& filler_;
  ReclaimBell& bell_;
};

}  // namespace userfault::pager

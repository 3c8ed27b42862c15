// SPDX-License-Identifier: Apache-2.0
// What is done about one fault: claims its page and fills it, with its neighbours as far as that is worth it.
// Threads: any; no lock of its own.
#pragma once

#include "pager/fault_context.h"
#include "pager/fill_order.h"
#include "pager/memory_supply.h"
#include "pager/page_filler.h"
#include "pager/prefetcher.h"
#include "pager/refault.h"
#include "pager/region_use.h"

namespace userfault::pager {

class FaultService {
 public:
  FaultService(MemorySupply& memory, PageFiller& filler, Prefetcher& prefetcher, RefaultHandler& refaults) noexcept
      : memory_(memory), filler_(filler), prefetcher_(prefetcher), refaults_(refaults) {}

  // Afterwards the faulting thread is woken, or will be: by the page's owner, by the answer of the store, or
  // when there is memory.
  void serve(const RegionUse& region, const Fault& fault, const FaultContext& context);

 private:
  void serve_again(const RegionUse& region, std::size_t page, PageState state, const Fault& fault,
                   const FaultContext& context);
  void fill_with_neighbours(const RegionUse& region, FillOrder order, const FaultContext& context);
  void fill_alone(const RegionUse& region, const FillOrder& order, const FaultContext& context);
  [[nodiscard]] std::size_t follow_stream(Region& region, std::size_t page);
  [[nodiscard]] static PageSpan claim_around(Region& region, std::size_t page, std::size_t most);

  MemorySupply& memory_;
  PageFiller& filler_;
  Prefetcher& prefetcher_;
  RefaultHandler& refaults_;
};

}  // namespace userfault::pager

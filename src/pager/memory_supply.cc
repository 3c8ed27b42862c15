// SPDX-License-Identifier: Apache-2.0
#include "pager/memory_supply.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace userfault::pager {

std::size_t MemorySupply::take(const Region& region, std::size_t most, const FaultContext& context) {
  USERFAULT_CHECK(most != 0, "memory is wanted for no page at all");
  if (waiters_.any()) {
    bell_.hint();
    return 0;
  }
  const std::size_t page = region.page_size();
  std::size_t taken = budget_.try_take(most, page);
  // A little more than is needed: so that not every fault has to.
  const std::uint64_t wanted = std::max<std::uint64_t>(most * page, evictor_.batch_bytes());
  if (taken == 0 && evictor_.evict(wanted, context) != 0) taken = budget_.try_take(most, page);
  if (budget_.scarce()) bell_.hint();
  return taken;
}

void MemorySupply::wait_in_queue(const RegionUse& region, const FillOrder& order) {
  region->counters().memory_waits.add(1);
  (void)region->states().finish(order.demanded, PageState::kAbsent);
  if (waiters_.add(region, order)) {
    bell_.ring();
  } else {
    region->wake(order.span);
  }
}

}  // namespace userfault::pager

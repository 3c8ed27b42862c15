// SPDX-License-Identifier: Apache-2.0
#include "pager/fault_service.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace userfault::pager {
namespace {

// A walk has passed pages that were asked for ahead. Not all of them need have been fetched.
void count_hits(Counters& counters, std::size_t pages) {
  const std::uint64_t fetched = counters.pages_by_prefetch.get();
  const std::uint64_t hits = counters.prefetch_hits.get();
  counters.prefetch_hits.add(std::min<std::uint64_t>(pages, fetched - std::min(hits, fetched)));
}

FillOrder order_for(const Region& region, std::size_t page, const Fault& fault, const FaultContext& context) {
  return FillOrder::for_fault(page, fault.write && region.writable(), context.since_ns());
}

}  // namespace

void FaultService::serve(const RegionUse& region, const Fault& fault, const FaultContext& context) {
  Counters& counters = region->counters();
  counters.faults.add(1);
  const std::size_t page = region->page_of(fault.address);
  const PageState state = region->states().claim_or_want(page);
  switch (state) {
    case PageState::kAbsent: fill_with_neighbours(region, order_for(*region, page, fault, context), context); return;
    case PageState::kOwned: counters.repeated.add(1); return;  // its owner wakes the thread
    case PageState::kMapped:
      counters.repeated.add(1);  // the message is older than the mapping
      region->wake({page, 1});
      return;
    default: serve_again(region, page, state, fault, context);
  }
}

// It was filled, or poisoned, once. Either it is there, and the message is older than that; or the
// program has dropped it since, and it has to come back.
void FaultService::serve_again(const RegionUse& region, std::size_t page, PageState state, const Fault& fault,
                               const FaultContext& context) {
  const bool there = !region->managed() && region->surely_present(fault.address);
  if (there || !region->states().claim(page, state)) {
    region->counters().repeated.add(1);
    region->wake({page, 1});
  } else if (region->managed() && state != PageState::kPoisoned) {
    refaults_.resolve(region, page, state, fault, context);
  } else {
    if (state == PageState::kResident) refaults_.forget_content(*region, state);
    fill_alone(region, order_for(*region, page, fault, context), context);
  }
}

void FaultService::fill_alone(const RegionUse& region, const FillOrder& order, const FaultContext& context) {
  if (memory_.take(*region, 1, context) == 0) {
    memory_.wait_in_queue(region, order);
  } else {
    filler_.fill(region, order, context);
  }
}

void FaultService::fill_with_neighbours(const RegionUse& region, FillOrder order, const FaultContext& context) {
  const std::size_t page = order.demanded;
  const std::size_t upwards = follow_stream(*region, page);
  const std::size_t taken = memory_.take(*region, std::max(upwards, region->around()), context);
  if (taken == 0) {
    memory_.wait_in_queue(region, order);
    return;
  }
  if (upwards > 1) order.span.count += region->claim_upwards(page + 1, std::min(upwards, taken) - 1);
  if (order.span.count == 1 && region->around() > 1) order.span = claim_around(*region, page, taken);
  USERFAULT_CHECK(order.span.count <= taken, "more pages are claimed than there is memory for");
  memory_.give_back(*region, taken - order.span.count);
  filler_.fill(region, order, context);
}

// How many pages a fault is worth, from its own one up; what lies ahead of them is asked for.
std::size_t FaultService::follow_stream(Region& region, std::size_t page) {
  if (!region.detects_streams()) return 1;
  const Streams::Advice advice = region.streams().on_fault(page);
  if (advice.ahead.count != 0) prefetcher_.fetch_next(region, {advice.ahead, advice.stride});
  if (advice.passed != 0) count_hits(region.counters(), advice.passed);
  return advice.now.count;
}

// The aligned block of pages around one that the caller owns already, as far as it is free; `most` pages.
PageSpan FaultService::claim_around(Region& region, std::size_t page, std::size_t most) {
  const std::size_t first = page & ~(region.around() - 1);
  const std::size_t above = region.claim_upwards(page + 1, std::min(most, first + region.around() - page) - 1);
  const std::size_t below = region.claim_downwards(page, std::min(most - above - 1, page - first));
  return {page - below, below + 1 + above};
}

}  // namespace userfault::pager

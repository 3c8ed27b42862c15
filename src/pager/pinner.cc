// SPDX-License-Identifier: Apache-2.0
#include "pager/pinner.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <thread>

#include "pager/sizes.h"

namespace userfault::pager {
namespace {

Unexpected<Error> pin_error(int code, PageRange range) {
  return Unexpected(
      Error{.operation = Operation::kStore, .code = code, .address = range.start, .length = range.length});
}

}  // namespace

Pinner::Pinner(const PagerOptions& options, Budget& budget, MemorySupply& memory, PageFiller& filler) noexcept
    : attempts_(std::max(1, options.store_attempts)),
      memory_wait_(options.memory_wait),
      budget_(budget),
      memory_(memory),
      filler_(filler) {}

// Pinned first and filled then: an evictor that is about to take a page is waited for, and a page that
// went is filled again.
Result<void> Pinner::pin(const RegionUse& region, PageSpan span) {
  if (!budget_.pin(span.count * region->page_size())) return pin_error(ENOMEM, region->range_of(span));
  region->pins().add(span);
  auto filled = fill_all(region, span);
  // Another thread of the program may have unpinned it already.
  if (!filled) (void)unpin(*region, span);
  return filled;
}

Result<void> Pinner::unpin(Region& region, PageSpan span) {
  if (!region.pins().remove(span)) return pin_error(EINVAL, region.range_of(span));
  budget_.unpin(span.count * region.page_size());
  return {};
}

Result<void> Pinner::fill_all(const RegionUse& region, PageSpan span) {
  const std::size_t most = std::max<std::size_t>(1, kFillBytes / region->page_size());
  int tries = 0;
  for (std::size_t page = span.first; page < span.end();) {
    const PageState state = region->states().wait_while_owned(page);
    if (is_in_memory(state) || state == PageState::kMapped) {
      ++page;
      tries = 0;
    } else if (state == PageState::kPoisoned || tries++ == attempts_) {
      return pin_error(EIO, region->range_of({page, 1}));
    } else if (!fill_absent(region, {page, std::min(span.end() - page, most)})) {
      return pin_error(ENOMEM, region->range_of({page, 1}));
    }
  }
  return {};
}

// Fills what is absent at the beginning of the span. Waits for memory, as long as a fault does, and not for
// the store. False: none came free.
bool Pinner::fill_absent(const RegionUse& region, PageSpan span) {
  const auto wait = static_cast<std::uint64_t>(memory_wait_.count());
  const std::uint64_t deadline_ns = wait == 0 ? UINT64_MAX : now_ns() + wait;
  std::size_t taken = 0;
  for (std::uint64_t pause_us = 100; (taken = memory_.take(*region, span.count, FaultContext())) == 0;
       pause_us = std::min<std::uint64_t>(pause_us * 2, 10000)) {
    if (now_ns() >= deadline_ns) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
  }
  const std::size_t claimed = region->claim_upwards(span.first, taken);
  memory_.give_back(*region, taken - claimed);
  const FillOrder order{.span = {span.first, claimed}, .cause = Cause::kPrefetch, .may_map = false};
  if (claimed != 0) filler_.fill(region, order, FaultContext());
  return true;
}

}  // namespace userfault::pager

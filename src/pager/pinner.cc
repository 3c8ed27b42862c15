// SPDX-License-Identifier: Apache-2.0
// Pages that stay.
#include <algorithm>
#include <cerrno>
#include <thread>

#include "pager/core.h"

namespace userfault::pager {
namespace {

// What is left for everybody else, in pages: an instruction of the program's may need four at once.
constexpr std::size_t kKeepPages = 4;

Unexpected<Error> pin_error(int code, PageRange range) {
  return Unexpected(
      Error{.operation = Operation::kStore, .code = code, .address = range.start, .length = range.length});
}

}  // namespace

// Pinned first and filled then: whoever was about to evict a page is waited for, and a page that
// went is filled again.
Result<void> Core::pin(Region& region, PageSpan span) {
  const RegionUse use(region, use_ended_);
  const std::uint64_t bytes = span.count * region.page_size();
  if (!budget_.pin(bytes, kKeepPages * largest_page_)) return pin_error(ENOMEM, region.range_of(span));
  region.pins().add(span);
  int tries = 0;
  for (std::size_t page = span.first; page < span.end();) {
    const PageState state = region.states().wait_while_owned(page);
    if (is_in_memory(state) || state == PageState::kMapped) {
      ++page;
      tries = 0;
    } else if (state == PageState::kPoisoned || tries++ == write_back_.attempts()) {
      (void)unpin(region, span);
      return pin_error(EIO, region.range_of({page, 1}));
    } else if (!fill_now(use, {page, std::min(span.end() - page,
                                              std::max<std::size_t>(1, kFillBytes / region.page_size()))})) {
      (void)unpin(region, span);
      return pin_error(ENOMEM, region.range_of({page, 1}));
    }
  }
  return {};
}

Result<void> Core::unpin(Region& region, PageSpan span) {
  if (!region.pins().remove(span)) return pin_error(EINVAL, region.range_of(span));
  budget_.unpin(span.count * region.page_size());
  return {};
}

// Fills what is absent at the beginning of the span. Waits for memory, as long as a fault does, and not for
// the store. False: none came free.
bool Core::fill_now(const RegionUse& region, PageSpan span) {
  const auto wait = static_cast<std::uint64_t>(memory_wait_.count());
  const std::uint64_t deadline_ns = wait == 0 ? UINT64_MAX : now_ns() + wait;
  std::size_t taken = 0;
  for (std::uint64_t pause_us = 100; (taken = take_memory(*region, span.count, {})) == 0;
       pause_us = std::min<std::uint64_t>(pause_us * 2, 10000)) {
    if (now_ns() >= deadline_ns) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
  }
  const std::size_t claimed = region->claim_upwards(span.first, taken);
  budget_.give((taken - claimed) * region->page_size());
  const FillOrder order{.span = {span.first, claimed}, .cause = Cause::kPrefetch, .may_map = false};
  if (claimed != 0) filler_.fill(region, order, {});
  return true;
}

}  // namespace userfault::pager

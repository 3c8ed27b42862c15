// SPDX-License-Identifier: Apache-2.0
// Reading back what asynchronous write protection recorded: PAGEMAP_SCAN, Linux 6.7.
#include <algorithm>
#include <array>
#include <cerrno>

#include "api/engine_for.h"
#include "userfault/descriptor.h"

namespace userfault {
namespace {

// One system call; `regions` bounds how much of the answer is on the stack.
userfault_scan request_for(PageRange range, std::span<userfault_page_region> regions, bool protect_again) {
  return {.size = sizeof(userfault_scan),
          .flags = protect_again ? USERFAULT_SCAN_WP_MATCHING | USERFAULT_SCAN_CHECK_WPASYNC : 0,
          .start = range.start,
          .end = range.end(),
          .walk_end = 0,
          .vec = reinterpret_cast<std::uintptr_t>(regions.data()),
          .vec_len = regions.size(),
          .max_pages = 0,
          .category_inverted = 0,
          .category_mask = USERFAULT_PAGE_IS_WRITTEN,
          .category_anyof_mask = 0,
          .return_mask = USERFAULT_PAGE_IS_WRITTEN};
}

Unexpected<Error> failure(int code, PageRange range) {
  return Unexpected(Error{.operation = Operation::kScan, .code = code, .address = range.start, .length = range.length});
}

}  // namespace

Result<Descriptor::Written> Descriptor::written(PageRange range, std::span<PageRange> written,
                                                bool protect_again) const {
  std::array<userfault_page_region, 64> regions;
  Written result{.ranges = written.first(0), .walked_to = range.start};
  while (result.walked_to < range.end() && result.ranges.size() < written.size()) {
    const auto batch = std::span(regions).first(std::min(regions.size(), written.size() - result.ranges.size()));
    const PageRange left = range.from(result.walked_to - range.start);
    userfault_scan request = request_for(left, batch, protect_again);
    long count = api::engine_for(engine_).scan(&request);
    // A walk that gets nowhere would never end.
    if (count >= 0 && request.walk_end <= left.start) count = -EIO;
    // What was reported may have been protected again: it must not be lost with the error.
    if (count < 0 && !result.ranges.empty()) return result;
    if (count < 0) return failure(static_cast<int>(-count), left);
    for (const auto& region : batch.first(static_cast<std::size_t>(count))) {
      written[result.ranges.size()] = {region.start, region.end - region.start};
      result.ranges = written.first(result.ranges.size() + 1);
    }
    result.walked_to = request.walk_end;
  }
  return result;
}

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Reading back what asynchronous write protection recorded: PAGEMAP_SCAN, Linux 6.7.
#include <array>

#include "engine/engine.h"
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

}  // namespace

Result<Descriptor::Written> Descriptor::written(PageRange range, std::span<PageRange> written,
                                                bool protect_again) const {
  engine::Engine& engine = engine_ == EngineKind::kUser ? engine::user_engine() : engine::kernel_engine();
  std::array<userfault_page_region, 64> regions;
  Written result{.ranges = written.first(0), .walked_to = range.start};
  while (result.walked_to < range.end() && result.ranges.size() < written.size()) {
    const auto batch = std::span(regions).first(std::min(regions.size(), written.size() - result.ranges.size()));
    const PageRange left{result.walked_to, range.end() - result.walked_to};
    userfault_scan request = request_for(left, batch, protect_again);
    const long count = engine.scan(&request);
    if (count < 0)
      return std::unexpected(Error{.operation = Operation::kScan,
                                   .code = static_cast<int>(-count),
                                   .address = left.start,
                                   .length = left.length});
    for (long i = 0; i < count; ++i) {
      const auto& region = regions[static_cast<std::size_t>(i)];
      written[result.ranges.size()] = {region.start, region.end - region.start};
      result.ranges = written.first(result.ranges.size() + 1);
    }
    result.walked_to = request.walk_end;
  }
  return result;
}

}  // namespace userfault

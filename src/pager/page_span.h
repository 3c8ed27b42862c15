// SPDX-License-Identifier: Apache-2.0
// Pages of a region that lie side by side.
#pragma once

#include <cstddef>

namespace userfault::pager {

struct PageSpan {
  std::size_t first = 0;
  std::size_t count = 0;
  [[nodiscard]] std::size_t end() const noexcept { return first + count; }
  [[nodiscard]] bool contains(std::size_t page) const noexcept { return page - first < count; }
};

}  // namespace userfault::pager

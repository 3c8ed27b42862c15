// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "pager/page_span.h"

namespace userfault::pager {

enum class Cause : std::uint8_t { kFault, kPrefetch };

// Pages that the caller owns, whose memory it has taken from the budget, and why they are filled.
struct FillOrder {
  static constexpr std::size_t kNone = SIZE_MAX;
  PageSpan span;
  std::size_t demanded = kNone;  // the page that a thread waits for: it is poisoned if it must be;
                                 // the others are given back when they cannot be had
  Cause cause = Cause::kFault;
  bool write = false;          // the thread wants to write to the demanded page
  bool may_map = true;         // the store's own file may be shown, where the store allows it
  bool in_place = false;       // parts of the demanded page are in memory, perhaps dirty: it stays there
  std::uint64_t since_ns = 0;  // when the fault's message was read

  [[nodiscard]] static FillOrder for_fault(std::size_t page, bool write, std::uint64_t since_ns) noexcept {
    return {.span = {page, 1}, .demanded = page, .cause = Cause::kFault, .write = write, .since_ns = since_ns};
  }
  [[nodiscard]] bool ahead() const noexcept { return cause == Cause::kPrefetch; }
  [[nodiscard]] bool demands_one_of(PageSpan pages) const noexcept { return pages.contains(demanded); }
};

}  // namespace userfault::pager

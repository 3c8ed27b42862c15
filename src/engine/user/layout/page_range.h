// SPDX-License-Identifier: Apache-2.0
// The arguments of the system calls that change mappings.
#pragma once

#include "engine/user/rt/page_size.h"

namespace userfault::engine::user::layout {

// Whether the kernel would take it: whole pages, some of them, and no wrap. What it would refuse is left to it.
[[nodiscard]] constexpr bool is_page_range(std::uintptr_t start, std::size_t length) noexcept {
  return is_page_aligned(start) && length != 0 && start + round_up_to_page(length) > start;
}

}  // namespace userfault::engine::user::layout

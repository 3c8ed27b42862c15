// SPDX-License-Identifier: Apache-2.0
// Whether there is a page behind an address or a state, whatever this process's mappings show.
//
// Threads: any, under Space::lock; also in a signal handler.
#pragma once

#include "engine/user/memory/address_space.h"

namespace userfault::engine::user {

// Makes a page of an open mapping come as a read of it would. 0, or a negative errno.
[[nodiscard]] long bring_page(std::uintptr_t address, std::size_t bytes) noexcept;

// Whether a page is there. To find out may take memory, so it may fail: what might be there must then
// neither be overwritten nor be taken for there.
enum class Presence : std::uint8_t { kAbsent, kPresent, kUnknown };

// Whether the backing file has a page there already, seen through this mapping or not.
[[nodiscard]] Presence look_up_cached(const Extent& extent, std::size_t page_index) noexcept;
// Whether there is content behind a page whose state says missing: another mapping of the file may
// have made it, or an access while the page was not tracked.
[[nodiscard]] Presence look_up_content(const Area& area, std::size_t page_index) noexcept;
[[nodiscard]] inline bool may_have_content(const Area& area, std::size_t page_index) noexcept {
  return look_up_content(area, page_index) != Presence::kAbsent;
}

}  // namespace userfault::engine::user

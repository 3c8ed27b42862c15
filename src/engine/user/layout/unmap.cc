// SPDX-License-Identifier: Apache-2.0
#include "engine/user/layout/unmap.h"

#include <sys/mman.h>

#include "engine/user/layout/page_range.h"

namespace userfault::engine::user::layout {

void prepare_unmap(Events& events, std::uintptr_t start, std::uintptr_t end) noexcept {
  static_cast<void>(for_each_area(start, end, [&](const Area& area) {
    events.prepare(area.instance, USERFAULT_FEATURE_EVENT_UNMAP, range_event(USERFAULT_EVENT_UNMAP, start, end));
    return 0;
  }));
}

// A memfd goes when no area is left that shows it; what is unmapped of it before has to be given back.
void forget_areas(std::uintptr_t start, std::uintptr_t end) noexcept {
  static_cast<void>(for_each_area(start, end, [](const Area& area) {
    if (area.extent->converted() && area.pages() < area.extent->pages)
      static_cast<void>(punch_hole(*area.extent, {area.first, area.pages()}));
    return 0;
  }));
  space.erase(start, end);
  USERFAULT_INVARIANT(piece_at(start, end).area == nullptr && piece_at(start, end).end == end,
                      "an area outlives its mapping");
}

int munmap(std::uintptr_t start, std::size_t length) noexcept {
  const std::uintptr_t end = start + round_up_to_page(length);
  if (!is_page_range(start, length) || !is_served(start, end)) return static_cast<int>(sys::munmap(start, length));
  return static_cast<int>(unmap_by(start, end, [&] { return sys::munmap(start, length); }));
}

std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  const auto call = [&] { return sys::mmap(start, length, protection, flags, fd, offset); };
  const std::uintptr_t end = start + round_up_to_page(length);
  if ((flags & MAP_FIXED) == 0 || !is_page_range(start, length) || !is_served(start, end)) return call();
  return unmap_by(start, end, call);
}

}  // namespace userfault::engine::user::layout

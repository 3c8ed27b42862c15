// SPDX-License-Identifier: Apache-2.0
// munmap(2), and mmap(2) over memory that the engine serves: the system call, with areas and events kept right around
// it.
//
// Threads: any. A call waits until the monitors have read the events that it raises.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "engine/user/memory/address_space.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/wait/layout_events.h"

namespace userfault::engine::user::layout {

[[nodiscard]] std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd,
                                 off_t offset) noexcept;
[[nodiscard]] int munmap(std::uintptr_t start, std::size_t length) noexcept;

// Under the exclusive lock: an unmap event for each instance that has an area in [start, end).
void prepare_unmap(Events& events, std::uintptr_t start, std::uintptr_t end) noexcept;
// Takes what was unmapped, [start, end), out of the table, and its memory out of the memfds. Under the exclusive lock;
// the areas were cut at both ends.
void forget_areas(std::uintptr_t start, std::uintptr_t end) noexcept;

// `change` is the system call that unmaps [start, end), made with the table locked and the areas cut. Its result, or
// the error of the cut.
template <typename Change>
std::intptr_t unmap_by(std::uintptr_t start, std::uintptr_t end, Change change) noexcept {
  USERFAULT_INVARIANT(start < end && is_page_aligned(start) && is_page_aligned(end), "a part of a page is unmapped");
  const SignalsBlocked blocked;
  Events events;
  std::intptr_t result;
  {
    Locked locked(space.lock);
    if (const long cut = cut_at(start, end); cut < 0) return cut;
    prepare_unmap(events, start, end);
    note_transition(start, end);
    result = change();
    if (is_error(result)) events.cancel();
    else forget_areas(start, end);
  }
  events.deliver();
  return result;
}

}  // namespace userfault::engine::user::layout

// SPDX-License-Identifier: Apache-2.0
#include "engine/user/layout/brk.h"

#include <cerrno>

#include "engine/user/layout/unmap.h"
#include "engine/user/rt/page_size.h"

namespace userfault::engine::user {

// A break that moves down unmaps what is behind it; one that is refused stays where it was.
std::uintptr_t change_break(std::uintptr_t wanted) noexcept {
  const auto call = [&](std::uintptr_t to) {
    return static_cast<std::uintptr_t>(raw_syscall(SYS_brk, static_cast<long>(to)));
  };
  const std::uintptr_t before = call(0);
  const std::uintptr_t start = round_up_to_page(wanted);
  const std::uintptr_t end = round_up_to_page(before);
  if (wanted == 0 || start >= end || !is_served(start, end)) return call(wanted);
  const std::intptr_t result = layout::unmap_by(start, end, [&] { return call(wanted) == wanted ? 0 : -ENOMEM; });
  return result == 0 ? wanted : call(0);
}

}  // namespace userfault::engine::user

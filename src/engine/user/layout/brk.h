// SPDX-License-Identifier: Apache-2.0
// brk(2): the end of the heap, which takes memory away where it moves down.
#pragma once

#include <cstdint>

namespace userfault::engine::user {

// brk(2) as the kernel has it: the new end, or the old one where it refuses.
[[nodiscard]] std::uintptr_t change_break(std::uintptr_t wanted) noexcept;

}  // namespace userfault::engine::user

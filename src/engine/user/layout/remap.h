// SPDX-License-Identifier: Apache-2.0
// mremap(2) of memory that the engine serves, and over it.
//
// Threads: any. A call waits until the monitors have read the events that it raises.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user::layout {

[[nodiscard]] std::intptr_t mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                                   std::uintptr_t to) noexcept;

}  // namespace userfault::engine::user::layout

// SPDX-License-Identifier: Apache-2.0
// mprotect(2) of memory that the engine serves: what the program asks for is remembered, and the mappings get as much
// of it as the pages' states allow.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user::layout {

[[nodiscard]] int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept;

}  // namespace userfault::engine::user::layout

// SPDX-License-Identifier: Apache-2.0
// Ranges whose mappings were changed lately: a fault there may have met a protection that was narrower than the
// program's for a moment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

// Notes that the protection of [start, end) is about to be, or was, narrower than the program's for
// a moment: a fault there that finds no area is tried again. Under Space::lock exclusive.
void note_transition(std::uintptr_t start, std::uintptr_t end) noexcept;

// Whether `address` lies in one of the latest of them. Under Space::lock shared.
[[nodiscard]] bool in_transition(std::uintptr_t address) noexcept;
// How many there were. Under Space::lock shared.
[[nodiscard]] std::size_t transition_count() noexcept;

}  // namespace userfault::engine::user

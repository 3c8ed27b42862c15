// SPDX-License-Identifier: Apache-2.0
// madvise(2) of memory that the engine serves: advice that drops pages raises an event and makes them missing again,
// advice that populates them takes their faults first.
//
// Threads: any. A call waits until the monitors have read the events that it raises.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user::layout {

[[nodiscard]] int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept;

}  // namespace userfault::engine::user::layout

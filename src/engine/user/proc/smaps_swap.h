// SPDX-License-Identifier: Apache-2.0
// Pages of a shared file that were swapped out, of which mincore(2) says that they are not there.
#pragma once

#include <cstdint>

namespace userfault::engine::user {

// Whether the file's page that the shared mapping shows at `address` is swapped out. For a file that the engine can
// open no descriptor of: it reads /proc/self/smaps, where any swap is in use at all.
[[nodiscard]] bool is_swapped_out(std::uintptr_t address) noexcept;

}  // namespace userfault::engine::user

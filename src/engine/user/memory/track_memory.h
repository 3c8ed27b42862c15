// SPDX-License-Identifier: Apache-2.0
// Turning a piece of the program's memory into an area.
#pragma once

#include "engine/user/memory/address_space.h"
#include "engine/user/proc/vma_kind.h"

namespace userfault::engine::user {

// Under Space::lock exclusive. Makes [start, end) of `mapping`, which no area covers, one area
// without a registration. `tracked`: missing pages have to be noticed; then what is missing
// is closed, and private memory becomes a memfd. `minor`: so do pages that this mapping does
// not show yet. -ENOMEM, -EPERM (a file opened without write access), -EINVAL.
[[nodiscard]] long make_area(const Mapping& mapping, const MemoryKind& kind, std::uintptr_t start, std::uintptr_t end,
                             bool tracked, bool minor) noexcept;
// The same for an area that is there and was not tracked so far, or not for minor faults.
[[nodiscard]] long track_area(std::uintptr_t start, bool minor) noexcept;

// Gives an extent of converted memory its place in a memfd, empty. -errno.
[[nodiscard]] long attach_object(Extent& extent) noexcept;
// Gives an extent of shared memory, whose page 0 is mapped at `start`, its alias. -errno.
[[nodiscard]] long attach_view(Extent& extent, std::uintptr_t start) noexcept;

}  // namespace userfault::engine::user

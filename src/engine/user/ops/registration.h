// SPDX-License-Identifier: Apache-2.0
// UFFDIO_REGISTER and UFFDIO_UNREGISTER: how memory of the program becomes an area, and stops being
// one.
#pragma once

#include "engine/user/memory/address_space.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// 0 or -errno; `ioctls` gets the operations of the range.
[[nodiscard]] long register_range(Instance& instance, std::uintptr_t start, std::size_t length, std::uint64_t modes,
                                  std::uint64_t* ioctls) noexcept;
[[nodiscard]] long unregister_range(Instance& instance, std::uintptr_t start, std::size_t length) noexcept;
// What closing the last descriptor does.
void unregister_all(Instance& instance) noexcept;

// Under Space::lock exclusive: opens every page of [start, end) that is not poisoned, and forgets the
// areas that need no memory of their own (everything but converted and poisoned ones). The range
// must lie on area borders. -ENOMEM: the limit of mappings; the area where it failed stays as it was.
[[nodiscard]] long release_areas(std::uintptr_t start, std::uintptr_t end) noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// UFFDIO_MOVE. Threads: any; also in a signal handler.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

struct MoveRequest {
  std::uintptr_t to = 0;
  std::uintptr_t from = 0;
  std::size_t length = 0;
  bool allow_holes = false;
};
// Bytes moved, or a negative errno when none were. -ENOENT: one of the ranges is not mapped, or a hole where none is
// allowed. -EINVAL: not two private anonymous mappings that permit the same, of which the target is registered.
// -EEXIST: a page of the target is there. -EBUSY: a page that a fork shares. -EFAULT: a marker. -EAGAIN: a layout
// change is under way. -ENOMEM.
[[nodiscard]] long move_pages(Instance& instance, const MoveRequest& request) noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// UFFDIO_WRITEPROTECT. Threads: any; also in a signal handler.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

struct ProtectRequest {
  std::uintptr_t start = 0;
  std::size_t length = 0;
  bool protect = false;
  bool wake = false;  // the threads that wait for what is not protected any more
};
// 0, -ENOENT, -EINVAL (huge pages cut), -ENOMEM, -EAGAIN.
[[nodiscard]] long write_protect(Instance& instance, const ProtectRequest& request) noexcept;

}  // namespace userfault::engine::user

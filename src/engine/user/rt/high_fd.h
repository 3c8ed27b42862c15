// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

// A descriptor of the engine's keeps out of the low numbers, which programs count on: its number now, `fd` itself where
// there is none above them.
[[nodiscard]] inline int out_of_the_way(int fd) noexcept {
  constexpr long kOutOfTheWay = 900;
  const long moved = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kOutOfTheWay);
  if (moved < 0) return fd;
  sys::close(fd);
  return static_cast<int>(moved);
}

}  // namespace userfault::engine::user

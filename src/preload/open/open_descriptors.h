// SPDX-License-Identifier: Apache-2.0
// The descriptors that are open in this process.
#pragma once

#include <fcntl.h>

#include <cstdint>

#include "engine/user/rt/syscall.h"

namespace userfault::preload {

// A directory entry, as getdents64(2) gives it. Not opendir(3), which allocates.
struct DirectoryEntry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

// `visit(fd)` for each but the one that this opens itself. False where /proc cannot be read.
template <typename Visit>
[[nodiscard]] bool for_each_descriptor(Visit visit) noexcept {
  using engine::user::as_long;
  using engine::user::raw_syscall;
  const long folder =
      raw_syscall(SYS_openat, AT_FDCWD, as_long("/proc/self/fd"), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder < 0) return false;
  alignas(8) char buffer[1024];
  long bytes = 0;
  while ((bytes = raw_syscall(SYS_getdents64, folder, as_long(buffer), sizeof buffer)) > 0) {
    for (long at = 0; at < bytes; at += reinterpret_cast<const DirectoryEntry*>(buffer + at)->size) {
      int fd = 0;
      const char* digit = reinterpret_cast<const DirectoryEntry*>(buffer + at)->name;
      for (; *digit >= '0' && *digit <= '9'; ++digit) fd = fd * 10 + (*digit - '0');
      if (*digit == '\0' && fd != folder) visit(fd);
    }
  }
  engine::user::sys::close(static_cast<int>(folder));
  return bytes == 0;
}

}  // namespace userfault::preload

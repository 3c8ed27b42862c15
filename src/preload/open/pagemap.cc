// SPDX-License-Identifier: Apache-2.0
#include "preload/open/pagemap.h"

#include <cstdio>
#include <cstring>

#include "base/page_size.h"
#include "engine/user/ops/written_scan.h"
#include "preload/open/numbers.h"
#include "preload/symbols/libc_symbols.h"

namespace userfault::preload {
namespace {

constexpr std::uint64_t kWriteProtected = std::uint64_t{1} << 57;
constexpr ssize_t kEntry = sizeof(std::uint64_t);

}  // namespace

bool is_own_pagemap(int fd) noexcept {
  char path[32];
  char target[64] = {};
  char wanted[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  engine::user::raw_syscall(SYS_readlinkat, AT_FDCWD, argument_of(&path[0]), argument_of(&target[0]),
                            sizeof target - 1);
  std::snprintf(wanted, sizeof wanted, "/proc/%d/pagemap", engine::user::sys::getpid());
  return std::strcmp(target, wanted) == 0;
}

void mend_pagemap(int fd, void* entries, ssize_t bytes, off_t offset) noexcept {
  if (bytes < kEntry || bytes % kEntry != 0 || !may_be_served(fd) || !active() || !is_own_pagemap(fd)) return;
  if (offset == kAtPosition) offset = engine::user::raw_syscall(SYS_lseek, fd, 0, SEEK_CUR) - bytes;
  auto page = static_cast<std::uintptr_t>(offset / kEntry);
  auto* entry = static_cast<char*>(entries);
  for (ssize_t at = 0; at < bytes; at += kEntry, ++page) {
    if (!engine::user::is_write_protected(page * base::page_size())) continue;
    std::uint64_t value;
    std::memcpy(&value, entry + at, sizeof value);
    value |= kWriteProtected;
    std::memcpy(entry + at, &value, sizeof value);
  }
}

}  // namespace userfault::preload

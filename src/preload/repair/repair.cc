// SPDX-License-Identifier: Apache-2.0
#include "preload/repair/repair.h"

#include <sys/stat.h>

#include <algorithm>

namespace userfault::preload {
namespace {

Buffer buffer_of(const iovec& piece, std::size_t skip) noexcept {
  return {reinterpret_cast<std::uintptr_t>(piece.iov_base) + skip, piece.iov_len - skip};
}

std::uintptr_t first_closed_behind(std::span<const iovec> buffers, std::size_t done, Access access) noexcept {
  for (const iovec& piece : buffers) {
    const std::size_t skip = std::min(done, piece.iov_len);
    done -= skip;
    if (skip == piece.iov_len) continue;
    if (const std::uintptr_t at = engine::user::first_closed(buffer_of(piece, skip), access); at != 0) return at;
  }
  return 0;
}

mode_t type_of(int fd) noexcept {
  struct stat status {};
  engine::user::raw_syscall(SYS_newfstatat, fd, argument_of(""), argument_of(&status), AT_EMPTY_PATH);
  return status.st_mode & S_IFMT;
}

}  // namespace

bool touch_next(std::span<const iovec> buffers, std::size_t done, Access access) noexcept {
  const std::uintptr_t at = first_closed_behind(buffers, done, access);
  return at != 0 && engine::user::touch(at, access);
}

void touch_all(std::span<const iovec> buffers, Access access) noexcept {
  while (touch_next(buffers, 0, access)) {
  }
}

bool touch_arguments(std::span<const long> addresses) noexcept {
  constexpr std::size_t kSize = 4096;  // a path, and more than any struct here
  for (const Access access : {Access::kRead, Access::kWrite})
    for (const long address : addresses) {
      const iovec piece{reinterpret_cast<void*>(address), kSize};
      if (static_cast<unsigned long>(address) >= kSize && touch_next({&piece, 1}, 0, access)) return true;
    }
  return false;
}

bool any_closed(std::span<const iovec> buffers, Access access) noexcept {
  return first_closed_behind(buffers, 0, access) != 0;
}

bool stopped_at_closed(std::span<const iovec> buffers, std::size_t done, Access access) noexcept {
  for (const iovec& piece : buffers) {
    if (done >= piece.iov_len) {
      done -= piece.iov_len;
      continue;
    }
    return engine::user::first_closed({buffer_of(piece, done).start, 1}, access) != 0;
  }
  return false;
}

// A socket says what it is; every other descriptor that is no file, directory or pipe counts as one
// that loses: character devices and the kernel's anonymous ones.
bool loses_data(int fd) noexcept {
  const mode_t type = type_of(fd);
  if (type == S_IFREG || type == S_IFBLK || type == S_IFIFO || type == S_IFDIR) return false;
  if (type != S_IFSOCK) return true;
  int kind = 0;
  socklen_t length = sizeof kind;
  engine::user::raw_syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, argument_of(&kind), argument_of(&length));
  return kind != SOCK_STREAM;
}

bool fills_buffers(int fd) noexcept {
  const mode_t type = type_of(fd);
  return type == S_IFREG || type == S_IFBLK;
}

}  // namespace userfault::preload

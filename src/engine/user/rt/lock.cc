// SPDX-License-Identifier: Apache-2.0
#include "engine/user/rt/lock.h"

#include <fcntl.h>

#include <cerrno>

#include "engine/user/rt/text.h"

namespace userfault::engine::user {

// The third word of /proc/TID/stat, behind the name in parentheses, which may hold anything but ends before the
// last one: Z and X are tasks that have ended.
bool has_ended(int tid) noexcept {
  ShortText<32> path;
  path.add("/proc/").add_number(static_cast<std::uint64_t>(tid)).add("/stat");
  const long fd = sys::openat(path.c_str(), O_RDONLY | O_CLOEXEC);
  // It may only be out of sight: without /proc, or in that of another PID namespace.
  if (fd < 0) return raw_syscall(SYS_tkill, tid, 0) == -ESRCH;
  char text[128];
  const long bytes = sys::read(static_cast<int>(fd), text, sizeof text);
  sys::close(static_cast<int>(fd));
  long at = bytes - 1;
  while (at >= 0 && text[at] != ')') --at;
  if (at < 0 || at + 2 >= bytes) return bytes == -ESRCH;
  return text[at + 2] == 'Z' || text[at + 2] == 'X';
}

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// Calls that give a descriptor another number: the new one is marked like the old one (open/numbers.h).
#include <fcntl.h>

#include <cstdarg>

#include "preload/open/numbers.h"
#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

int marked_as(int old_fd, int new_fd) noexcept {
  if (new_fd >= 0 && may_be_served(old_fd)) mark_number(new_fd);
  return new_fd;
}

// The number changes hands in one step, as in the kernel; the engine then closes a duplicate of what
// it stood for, so that it sees the end of it. Another thread may use the number as soon as the call is
// made, so it is marked before.
template <typename Replace>
int replace(int old_fd, int new_fd, Replace replace_number) noexcept {
  marked_as(old_fd, new_fd);
  if (old_fd == new_fd || !is_ours(new_fd)) return replace_number();
  const auto kept = static_cast<int>(engine::user::raw_syscall(SYS_fcntl, new_fd, F_DUPFD_CLOEXEC, 0));
  const int result = replace_number();
  if (kept < 0) return result;
  if (result >= 0) user_engine().close(kept);
  else engine::user::sys::close(kept);
  return result;
}

}  // namespace

USERFAULT_PRELOADED int dup(int fd) noexcept { return marked_as(fd, next<Name::dup>(fd)); }

USERFAULT_PRELOADED int dup2(int old_fd, int new_fd) noexcept {
  return replace(old_fd, new_fd, [=] { return next<Name::dup2>(old_fd, new_fd); });
}
extern "C" USERFAULT_ALIAS(dup2) int __dup2(int old_fd, int new_fd) noexcept;

USERFAULT_PRELOADED int dup3(int old_fd, int new_fd, int flags) noexcept {
  return replace(old_fd, new_fd, [=] { return next<Name::dup3>(old_fd, new_fd, flags); });
}

// F_SETLKW is a cancellation point.
USERFAULT_PRELOADED int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) return marked_as(fd, next<Name::fcntl>(fd, command, argument));
  return retried<Name::fcntl>(fd, command, argument);
}
extern "C" {
USERFAULT_ALIAS(fcntl) int fcntl64(int fd, int command, ...);
USERFAULT_ALIAS(fcntl) int __fcntl(int fd, int command, ...);
}

// Another process's descriptor, or this one's own.
USERFAULT_PRELOADED int pidfd_getfd(int process, int fd, unsigned flags) noexcept {
  const int got = next<Name::pidfd_getfd>(process, fd, flags);
  if (got >= 0) note_arrival(got);
  return got;
}

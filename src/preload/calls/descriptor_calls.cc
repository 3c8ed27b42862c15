// SPDX-License-Identifier: Apache-2.0
// What a program does to a descriptor itself: close, duplicate, ask and tell.
//
// The engine knows its descriptors by what is behind the number, so plain duplicates (dup, F_DUPFD,
// SCM_RIGHTS, fork) need nothing. It has to hear when a number goes away, because the last one that
// goes releases the threads that wait.
#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/ioctl.h>

#include <cstdarg>
#include <cstdlib>

#include "preload/open/pagemap.h"
#include "preload/open/userfaultfd.h"
#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

// What the file layer answers for every file, before userfaultfd's own ioctl is asked (fs/ioctl.c).
bool is_general(unsigned long request) noexcept {
  return request == FIOCLEX || request == FIONCLEX || request == FIONBIO || request == FIOASYNC;
}

// Another process's descriptor may come in ways that nobody notices (SCM_RIGHTS, exec), but its first
// use is most likely one of these.
bool is_about_userfault(unsigned long request) noexcept { return ((request >> 8) & 0xff) == 0xaa; }

// Old requests do not carry the size of what they point to: a terminal's settings, a number.
std::size_t size_of(unsigned long request) noexcept {
  constexpr std::size_t kOldSize = 64;
  return _IOC_SIZE(request) != 0 ? _IOC_SIZE(request) : kOldSize;
}

// The handshake on what is not ours. The kernel clears the request that it refuses.
int shake_hands(int fd, userfault_api* request) noexcept {
  userfault_api wanted{};
  const iovec here{&wanted, sizeof wanted};
  const iovec there{request, sizeof wanted};
  const bool known = engine::user::raw_syscall(SYS_process_vm_readv, engine::user::sys::getpid(), argument_of(&here), 1,
                                               argument_of(&there), 1, 0) == sizeof wanted;
  const int result = next<Name::ioctl>(fd, USERFAULT_IOC_API, request);
  if (result == 0 || errno != EPERM || !known || !replace_refused(fd)) return result;
  *request = wanted;
  return finish(user_engine().operate(fd, USERFAULT_IOC_API, request));
}

// Directory entries of /proc/self/fd, without opendir(3), which allocates.
struct Entry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

void close_ours_between(unsigned first, unsigned last) noexcept {
  const long directory = engine::user::raw_syscall(SYS_openat, AT_FDCWD, argument_of("/proc/self/fd"),
                                                   O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (directory < 0) return;
  alignas(8) char buffer[4096];
  for (;;) {
    const long bytes = engine::user::raw_syscall(SYS_getdents64, directory, argument_of(&buffer[0]), sizeof buffer);
    if (bytes <= 0) break;
    for (long at = 0; at < bytes; at += reinterpret_cast<const Entry*>(buffer + at)->size) {
      const int fd = std::atoi(reinterpret_cast<const Entry*>(buffer + at)->name);
      if (static_cast<unsigned>(fd) >= first && static_cast<unsigned>(fd) <= last && is_ours(fd))
        user_engine().close(fd);
    }
  }
  engine::user::sys::close(static_cast<int>(directory));
}

// The number changes hands in one step, as in the kernel; the engine then closes a duplicate of what
// it stood for, so that it sees the end of it.
template <typename Replace>
int replace(int old_fd, int new_fd, Replace replace_number) noexcept {
  if (old_fd == new_fd || !is_ours(new_fd)) return replace_number();
  const auto kept = static_cast<int>(engine::user::raw_syscall(SYS_fcntl, new_fd, F_DUPFD_CLOEXEC, 0));
  const int result = replace_number();
  if (kept < 0) return result;
  if (result >= 0) user_engine().close(kept);
  else engine::user::sys::close(kept);
  return result;
}

}  // namespace

USERFAULT_PRELOADED int close(int fd) {
  if (is_ours(fd)) return finish(user_engine().close(fd));
  return next<Name::close>(fd);
}
extern "C" USERFAULT_ALIAS(close) int __close(int fd);

USERFAULT_PRELOADED int close_range(unsigned first, unsigned last, int flags) noexcept {
  if (active() && (flags & CLOSE_RANGE_CLOEXEC) == 0) close_ours_between(first, last);
  return next<Name::close_range>(first, last, flags);
}

USERFAULT_PRELOADED void closefrom(int first) noexcept {
  if (active()) close_ours_between(static_cast<unsigned>(first), ~0U);
  next<Name::closefrom>(first);
}

USERFAULT_PRELOADED int dup2(int old_fd, int new_fd) noexcept {
  return replace(old_fd, new_fd, [=] { return next<Name::dup2>(old_fd, new_fd); });
}
extern "C" USERFAULT_ALIAS(dup2) int __dup2(int old_fd, int new_fd) noexcept;

USERFAULT_PRELOADED int dup3(int old_fd, int new_fd, int flags) noexcept {
  return replace(old_fd, new_fd, [=] { return next<Name::dup3>(old_fd, new_fd, flags); });
}

// A userfaultfd has a position that never moves (noop_llseek); a pipe has none.
USERFAULT_PRELOADED off_t lseek(int fd, off_t offset, int whence) noexcept {
  const int before = errno;
  const off_t result = next<Name::lseek>(fd, offset, whence);
  if (result != -1 || errno != ESPIPE || !is_ours(fd)) return result;
  errno = before;
  return 0;
}
extern "C" {
USERFAULT_ALIAS(lseek) off64_t lseek64(int fd, off64_t offset, int whence) noexcept;
USERFAULT_ALIAS(lseek) off_t __lseek(int fd, off_t offset, int whence) noexcept;
}

USERFAULT_PRELOADED int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  // The device knows one request (userfaultfd_dev_ioctl in fs/userfaultfd.c).
  if (is_about_userfault(request) && is_stand_in(fd))
    return request == USERFAULT_DEV_IOC_NEW ? finish(open_userfaultfd(static_cast<int>(argument_of(argument))))
                                            : finish(-EINVAL);
  if (request == USERFAULT_PAGEMAP_SCAN && active() && is_own_pagemap(fd))
    return static_cast<int>(finish(user_engine().scan(static_cast<userfault_scan*>(argument))));
  if (request == engine::user::kAskPreload && is_ours(fd)) return 0;
  if (!is_general(request) && (is_ours(fd) || (is_about_userfault(request) && user_engine().owns(fd))))
    return finish(user_engine().operate(fd, request, argument));
  if (request == USERFAULT_IOC_API) return shake_hands(fd, static_cast<userfault_api*>(argument));
  return repaired(_IOC_DIR(request) == _IOC_WRITE ? Access::kRead : Access::kWrite, argument, size_of(request),
                  [=] { return next<Name::ioctl>(fd, request, argument); });
}

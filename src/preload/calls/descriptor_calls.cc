// SPDX-License-Identifier: Apache-2.0
// What a program does to a descriptor itself: close, ask and tell.
//
// The engine knows its descriptors by what is behind the number. It has to hear when a number goes away,
// because the last one that goes releases the threads that wait.
#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/ioctl.h>

#include <cstdarg>
#include <cstdlib>

#include "preload/open/numbers.h"
#include "preload/open/open_descriptors.h"
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

bool is_about_userfault(unsigned long request) noexcept { return ((request >> 8) & 0xff) == 0xaa; }

// Old requests do not carry the size of what they point to: a terminal's settings, a number.
std::size_t size_of(unsigned long request) noexcept {
  constexpr std::size_t kOldSize = 64;
  return _IOC_SIZE(request) != 0 ? _IOC_SIZE(request) : kOldSize;
}

int passed_on(int fd, unsigned long request, void* argument) noexcept {
  return repaired(_IOC_DIR(request) == _IOC_WRITE ? Access::kRead : Access::kWrite, argument, size_of(request),
                  [=] { return next<Name::ioctl>(fd, request, argument); });
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

// The stand-in for the device, which knows one request (userfaultfd_dev_ioctl in fs/userfaultfd.c).
int ask_stand_in(unsigned long request, void* argument) noexcept {
  if (request != USERFAULT_DEV_IOC_NEW) return finish(-EINVAL);
  return finish(open_userfaultfd(static_cast<int>(argument_of(argument))));
}

// One look-up for a descriptor whose number is marked, and none for one of the kernel's. A number that is
// not marked is given to the kernel first: neither a doorbell nor a stand-in knows such a request (ENOTTY),
// and what they are is asked then.
int userfault_ioctl(int fd, unsigned long request, void* argument) noexcept {
  const int before = errno;
  const auto try_ours = [=] {
    if (request == engine::user::kAskPreload) return user_engine().owns(fd) ? 0 : engine::user::kNotOurs;
    return engine::user::try_operate(fd, request, argument);
  };
  int result = may_be_served(fd) ? try_ours() : engine::user::kNotOurs;
  if (result != engine::user::kNotOurs) return finish(result);
  result = request == USERFAULT_IOC_API ? shake_hands(fd, static_cast<userfault_api*>(argument))
                                        : passed_on(fd, request, argument);
  if (result != -1 || errno != ENOTTY) return result;
  errno = before;
  if (result = try_ours(); result != engine::user::kNotOurs) {
    mark_number(fd);
    return finish(result);
  }
  return is_stand_in(fd) ? ask_stand_in(request, argument) : finish(-ENOTTY);
}

// Where /proc cannot be read the agent notices the end of a descriptor by itself (engine/user/remote).
void close_ours_between(unsigned first, unsigned last) noexcept {
  static_cast<void>(for_each_descriptor([=](int fd) {
    if (static_cast<unsigned>(fd) >= first && static_cast<unsigned>(fd) <= last && is_ours(fd)) user_engine().close(fd);
  }));
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
  if (is_about_userfault(request)) return userfault_ioctl(fd, request, argument);
  if (request == USERFAULT_PAGEMAP_SCAN && active() && is_own_pagemap(fd))
    return static_cast<int>(finish(user_engine().scan(static_cast<userfault_scan*>(argument))));
  if (!is_general(request) && is_ours(fd)) return finish(user_engine().operate(fd, request, argument));
  return passed_on(fd, request, argument);
}

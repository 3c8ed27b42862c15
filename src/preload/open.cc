// SPDX-License-Identifier: Apache-2.0
// open(2) in all its names, for the sake of two paths: the device, and fdinfo of a descriptor of ours.
#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "preload/doors.h"
#include "preload/fdinfo.h"
#include "preload/next.h"
#include "preload/repair.h"

using namespace userfault::preload;

// The mode is there only when the flags say so.
#define USERFAULT_MODE(flags)                                       \
  mode_t mode = 0;                                                  \
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) { \
    va_list arguments;                                              \
    va_start(arguments, flags);                                     \
    mode = va_arg(arguments, mode_t);                               \
    va_end(arguments);                                              \
  }

namespace {

// The paths that are not the kernel's: then the descriptor, or -1 and errno, is in `result`.
bool open_instead(int directory, const char* path, int flags, int* result) noexcept {
  const bool device = wants_stand_in(directory, path);
  if (!device && !wants_fdinfo(path)) return false;
  *result = finish(device ? open_stand_in(flags) : open_fdinfo(path, flags));
  return true;
}

int open_early(int directory, const char* path, int flags, mode_t mode = 0) noexcept {
  return finish(
      static_cast<int>(userfault::engine::user::raw_syscall(SYS_openat, directory, argument_of(path), flags, mode)));
}

int flags_of(const char* mode) noexcept {
  const bool both = std::strchr(mode, '+') != nullptr;
  return O_CLOEXEC | (both ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY);
}

template <typename Function>
FILE* open_stream(Function function, const char* path, const char* mode) noexcept {
  int fd = -1;
  if (mode == nullptr || !open_instead(AT_FDCWD, path, flags_of(mode), &fd))
    return function != nullptr ? function(path, mode) : nullptr;
  return fd < 0 ? nullptr : fdopen(fd, mode);
}

// The stream is opened anew on what stands in, by its name in /proc.
template <typename Function>
FILE* reopen_stream(Function function, const char* path, const char* mode, FILE* stream) noexcept {
  int fd = -1;
  if (path == nullptr || mode == nullptr || !open_instead(AT_FDCWD, path, flags_of(mode), &fd))
    return function(path, mode, stream);
  if (fd < 0) {
    const int error = errno;
    fclose(stream);
    errno = error;
    return nullptr;
  }
  char name[32];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  FILE* const result = function(name, mode, stream);
  userfault::engine::user::sys::close(fd);
  return result;
}

}  // namespace

USERFAULT_PRELOADED int open(const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return next.open != nullptr ? retried(next.open, path, flags, mode) : open_early(AT_FDCWD, path, flags, mode);
}

USERFAULT_PRELOADED int open64(const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return next.open64 != nullptr ? retried(next.open64, path, flags, mode) : open_early(AT_FDCWD, path, flags, mode);
}

USERFAULT_PRELOADED int openat(int directory, const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return next.openat != nullptr ? retried(next.openat, directory, path, flags, mode)
                                : open_early(directory, path, flags, mode);
}

USERFAULT_PRELOADED int openat64(int directory, const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return next.openat64 != nullptr ? retried(next.openat64, directory, path, flags, mode)
                                  : open_early(directory, path, flags, mode);
}

USERFAULT_PRELOADED int __open_2(const char* path, int flags) {
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return next.__open_2 != nullptr ? retried(next.__open_2, path, flags) : open_early(AT_FDCWD, path, flags);
}

USERFAULT_PRELOADED int __open64_2(const char* path, int flags) {
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return next.__open64_2 != nullptr ? retried(next.__open64_2, path, flags) : open_early(AT_FDCWD, path, flags);
}

USERFAULT_PRELOADED int __openat_2(int directory, const char* path, int flags) {
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return next.__openat_2 != nullptr ? retried(next.__openat_2, directory, path, flags)
                                    : open_early(directory, path, flags);
}

USERFAULT_PRELOADED int __openat64_2(int directory, const char* path, int flags) {
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return next.__openat64_2 != nullptr ? retried(next.__openat64_2, directory, path, flags)
                                      : open_early(directory, path, flags);
}

// glibc's own other names for the same functions.
extern "C" {
USERFAULT_ALIAS(open) int __open(const char* path, int flags, ...);
USERFAULT_ALIAS(open64) int __open64(const char* path, int flags, ...);
}

USERFAULT_PRELOADED FILE* fopen(const char* path, const char* mode) { return open_stream(next.fopen, path, mode); }
USERFAULT_PRELOADED FILE* fopen64(const char* path, const char* mode) { return open_stream(next.fopen64, path, mode); }
USERFAULT_PRELOADED FILE* freopen(const char* path, const char* mode, FILE* stream) {
  return reopen_stream(next.freopen, path, mode, stream);
}
USERFAULT_PRELOADED FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  return reopen_stream(next.freopen64, path, mode, stream);
}

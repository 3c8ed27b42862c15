// SPDX-License-Identifier: Apache-2.0
// open(2) in all its names, for the sake of one path.
#include <fcntl.h>
#include <stdio.h>

#include <cstdarg>

#include "preload/doors.h"
#include "preload/next.h"

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

int open_early(int directory, const char* path, int flags, mode_t mode = 0) noexcept {
  return finish(
      static_cast<int>(userfault::sigsafe::raw_syscall(SYS_openat, directory, argument_of(path), flags, mode)));
}

template <typename Function>
FILE* open_stream(Function function, const char* path, const char* mode) noexcept {
  if (!wants_stand_in(AT_FDCWD, path)) return function != nullptr ? function(path, mode) : nullptr;
  const int fd = finish(open_stand_in(O_CLOEXEC));
  return fd < 0 ? nullptr : fdopen(fd, mode);
}

}  // namespace

USERFAULT_PRELOADED int open(const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  if (wants_stand_in(AT_FDCWD, path)) return finish(open_stand_in(flags));
  return next.open != nullptr ? next.open(path, flags, mode) : open_early(AT_FDCWD, path, flags, mode);
}

USERFAULT_PRELOADED int open64(const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  if (wants_stand_in(AT_FDCWD, path)) return finish(open_stand_in(flags));
  return next.open64 != nullptr ? next.open64(path, flags, mode) : open_early(AT_FDCWD, path, flags, mode);
}

USERFAULT_PRELOADED int openat(int directory, const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  if (wants_stand_in(directory, path)) return finish(open_stand_in(flags));
  return next.openat != nullptr ? next.openat(directory, path, flags, mode) : open_early(directory, path, flags, mode);
}

USERFAULT_PRELOADED int openat64(int directory, const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  if (wants_stand_in(directory, path)) return finish(open_stand_in(flags));
  return next.openat64 != nullptr ? next.openat64(directory, path, flags, mode)
                                  : open_early(directory, path, flags, mode);
}

USERFAULT_PRELOADED int __open_2(const char* path, int flags) {
  if (wants_stand_in(AT_FDCWD, path)) return finish(open_stand_in(flags));
  return next.__open_2 != nullptr ? next.__open_2(path, flags) : open_early(AT_FDCWD, path, flags);
}

USERFAULT_PRELOADED int __open64_2(const char* path, int flags) {
  if (wants_stand_in(AT_FDCWD, path)) return finish(open_stand_in(flags));
  return next.__open64_2 != nullptr ? next.__open64_2(path, flags) : open_early(AT_FDCWD, path, flags);
}

USERFAULT_PRELOADED int __openat_2(int directory, const char* path, int flags) {
  if (wants_stand_in(directory, path)) return finish(open_stand_in(flags));
  return next.__openat_2 != nullptr ? next.__openat_2(directory, path, flags) : open_early(directory, path, flags);
}

USERFAULT_PRELOADED int __openat64_2(int directory, const char* path, int flags) {
  if (wants_stand_in(directory, path)) return finish(open_stand_in(flags));
  return next.__openat64_2 != nullptr ? next.__openat64_2(directory, path, flags) : open_early(directory, path, flags);
}

// glibc's own other names for the same functions.
extern "C" {
USERFAULT_ALIAS(open) int __open(const char* path, int flags, ...);
USERFAULT_ALIAS(open64) int __open64(const char* path, int flags, ...);
}

USERFAULT_PRELOADED FILE* fopen(const char* path, const char* mode) { return open_stream(next.fopen, path, mode); }
USERFAULT_PRELOADED FILE* fopen64(const char* path, const char* mode) { return open_stream(next.fopen64, path, mode); }

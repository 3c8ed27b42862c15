// SPDX-License-Identifier: Apache-2.0
// open(2) in all its names, for the sake of two paths: the device, and fdinfo of a descriptor of ours.
#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "preload/open/fdinfo.h"
#include "preload/open/numbers.h"
#include "preload/open/userfaultfd.h"
#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

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

// Reads of pagemap are looked at (pagemap.h).
int noted(const char* path, int fd) noexcept {
  if (fd < 0) return fd;
  const char* const slash = std::strrchr(path, '/');
  if (std::strcmp(slash != nullptr ? slash + 1 : path, "pagemap") == 0) mark_number(fd);
  return fd;
}

int flags_of(const char* mode) noexcept {
  const bool both = std::strchr(mode, '+') != nullptr;
  return O_CLOEXEC | (both ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY);
}

template <Name name>
FILE* open_stream(const char* path, const char* mode) noexcept {
  int fd = -1;
  if (mode == nullptr || !open_instead(AT_FDCWD, path, flags_of(mode), &fd)) return next<name>(path, mode);
  return fd < 0 ? nullptr : fdopen(fd, mode);
}

// The stream is opened anew on what stands in, by its name in /proc.
template <Name name>
FILE* reopen_stream(const char* path, const char* mode, FILE* stream) noexcept {
  int fd = -1;
  if (path == nullptr || mode == nullptr || !open_instead(AT_FDCWD, path, flags_of(mode), &fd))
    return next<name>(path, mode, stream);
  if (fd < 0) {
    const int error = errno;
    fclose(stream);
    errno = error;
    return nullptr;
  }
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  FILE* const result = next<name>(link, mode, stream);
  userfault::engine::user::sys::close(fd);
  return result;
}

}  // namespace

USERFAULT_PRELOADED int open(const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return noted(path, retried<Name::open>(path, flags, mode));
}

USERFAULT_PRELOADED int open64(const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return noted(path, retried<Name::open64>(path, flags, mode));
}

USERFAULT_PRELOADED int openat(int directory, const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return noted(path, retried<Name::openat>(directory, path, flags, mode));
}

USERFAULT_PRELOADED int openat64(int directory, const char* path, int flags, ...) {
  USERFAULT_MODE(flags)
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return noted(path, retried<Name::openat64>(directory, path, flags, mode));
}

USERFAULT_PRELOADED int __open_2(const char* path, int flags) {
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return noted(path, retried<Name::__open_2>(path, flags));
}

USERFAULT_PRELOADED int __open64_2(const char* path, int flags) {
  int instead = -1;
  if (open_instead(AT_FDCWD, path, flags, &instead)) return instead;
  return noted(path, retried<Name::__open64_2>(path, flags));
}

USERFAULT_PRELOADED int __openat_2(int directory, const char* path, int flags) {
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return noted(path, retried<Name::__openat_2>(directory, path, flags));
}

USERFAULT_PRELOADED int __openat64_2(int directory, const char* path, int flags) {
  int instead = -1;
  if (open_instead(directory, path, flags, &instead)) return instead;
  return noted(path, retried<Name::__openat64_2>(directory, path, flags));
}

// glibc's own other names for the same functions.
extern "C" {
USERFAULT_ALIAS(open) int __open(const char* path, int flags, ...);
USERFAULT_ALIAS(open64) int __open64(const char* path, int flags, ...);
}

USERFAULT_PRELOADED FILE* fopen(const char* path, const char* mode) { return open_stream<Name::fopen>(path, mode); }
USERFAULT_PRELOADED FILE* fopen64(const char* path, const char* mode) { return open_stream<Name::fopen64>(path, mode); }
USERFAULT_PRELOADED FILE* freopen(const char* path, const char* mode, FILE* stream) {
  return reopen_stream<Name::freopen>(path, mode, stream);
}
USERFAULT_PRELOADED FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  return reopen_stream<Name::freopen64>(path, mode, stream);
}

// SPDX-License-Identifier: Apache-2.0
// Calls that write one result of a known size, and do nothing when they fail.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/next.h"
#include "preload/repair.h"

using namespace userfault::preload;

USERFAULT_PRELOADED int stat(const char* path, struct stat* status) noexcept {
  return repaired(Access::kWrite, status, sizeof *status, [=] {
    return next.stat != nullptr ? next.stat(path, status)
                                : call(next.fstatat, SYS_newfstatat, AT_FDCWD, path, status, 0);
  });
}
extern "C" USERFAULT_ALIAS(stat) int stat64(const char* path, struct stat64* status) noexcept;

USERFAULT_PRELOADED int lstat(const char* path, struct stat* status) noexcept {
  return repaired(Access::kWrite, status, sizeof *status, [=] {
    if (next.lstat != nullptr) return next.lstat(path, status);
    return call(next.fstatat, SYS_newfstatat, AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
  });
}
extern "C" USERFAULT_ALIAS(lstat) int lstat64(const char* path, struct stat64* status) noexcept;

USERFAULT_PRELOADED int fstat(int fd, struct stat* status) noexcept {
  return repaired(Access::kWrite, status, sizeof *status, [=] { return call(next.fstat, SYS_fstat, fd, status); });
}
extern "C" USERFAULT_ALIAS(fstat) int fstat64(int fd, struct stat64* status) noexcept;

USERFAULT_PRELOADED int fstatat(int directory, const char* path, struct stat* status, int flags) noexcept {
  return repaired(Access::kWrite, status, sizeof *status,
                  [=] { return call(next.fstatat, SYS_newfstatat, directory, path, status, flags); });
}
extern "C" USERFAULT_ALIAS(fstatat) int fstatat64(int directory, const char* path, struct stat64* status,
                                                  int flags) noexcept;

USERFAULT_PRELOADED ssize_t readlink(const char* path, char* target, size_t bytes) noexcept {
  return repaired(Access::kWrite, target, bytes, [=] {
    if (next.readlink != nullptr) return next.readlink(path, target, bytes);
    return call(next.readlinkat, SYS_readlinkat, AT_FDCWD, path, target, bytes);
  });
}

USERFAULT_PRELOADED ssize_t getdents64(int fd, void* entries, size_t bytes) noexcept {
  return repaired(Access::kWrite, entries, bytes,
                  [=] { return call(next.getdents64, SYS_getdents64, fd, entries, bytes); });
}

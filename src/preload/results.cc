// SPDX-License-Identifier: Apache-2.0
// Calls about files that write one result, and do nothing when they fail.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/next.h"
#include "preload/repair.h"

using namespace userfault::preload;

USERFAULT_PRELOADED int stat(const char* path, struct stat* status) noexcept {
  return retried(
      [](const char* from, struct stat* to) {
        return next.stat != nullptr ? next.stat(from, to) : call(next.fstatat, SYS_newfstatat, AT_FDCWD, from, to, 0);
      },
      path, status);
}
extern "C" USERFAULT_ALIAS(stat) int stat64(const char* path, struct stat64* status) noexcept;

USERFAULT_PRELOADED int lstat(const char* path, struct stat* status) noexcept {
  return retried(
      [](const char* from, struct stat* to) {
        return next.lstat != nullptr ? next.lstat(from, to)
                                     : call(next.fstatat, SYS_newfstatat, AT_FDCWD, from, to, AT_SYMLINK_NOFOLLOW);
      },
      path, status);
}
extern "C" USERFAULT_ALIAS(lstat) int lstat64(const char* path, struct stat64* status) noexcept;

USERFAULT_PRELOADED int fstat(int fd, struct stat* status) noexcept {
  return retried([](int from, struct stat* to) { return call(next.fstat, SYS_fstat, from, to); }, fd, status);
}
extern "C" USERFAULT_ALIAS(fstat) int fstat64(int fd, struct stat64* status) noexcept;

USERFAULT_PRELOADED int fstatat(int directory, const char* path, struct stat* status, int flags) noexcept {
  return retried([](int in, const char* from, struct stat* to,
                    int how) { return call(next.fstatat, SYS_newfstatat, in, from, to, how); },
                 directory, path, status, flags);
}
extern "C" USERFAULT_ALIAS(fstatat) int fstatat64(int directory, const char* path, struct stat64* status,
                                                  int flags) noexcept;

USERFAULT_PRELOADED ssize_t readlink(const char* path, char* target, size_t bytes) noexcept {
  return retried(
      [](const char* from, char* to, size_t room) {
        if (next.readlink != nullptr) return next.readlink(from, to, room);
        return call(next.readlinkat, SYS_readlinkat, AT_FDCWD, from, to, room);
      },
      path, target, bytes);
}

USERFAULT_PRELOADED ssize_t getdents64(int fd, void* entries, size_t bytes) noexcept {
  return repaired(Access::kWrite, entries, bytes,
                  [=] { return call(next.getdents64, SYS_getdents64, fd, entries, bytes); });
}

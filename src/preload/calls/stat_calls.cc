// SPDX-License-Identifier: Apache-2.0
// Calls about files that write one result, and do nothing when they fail.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault::preload;

USERFAULT_PRELOADED int stat(const char* path, struct stat* status) noexcept {
  return retried<Name::stat>(path, status);
}
extern "C" USERFAULT_ALIAS(stat) int stat64(const char* path, struct stat64* status) noexcept;

USERFAULT_PRELOADED int lstat(const char* path, struct stat* status) noexcept {
  return retried<Name::lstat>(path, status);
}
extern "C" USERFAULT_ALIAS(lstat) int lstat64(const char* path, struct stat64* status) noexcept;

USERFAULT_PRELOADED int fstat(int fd, struct stat* status) noexcept { return retried<Name::fstat>(fd, status); }
extern "C" USERFAULT_ALIAS(fstat) int fstat64(int fd, struct stat64* status) noexcept;

USERFAULT_PRELOADED int fstatat(int directory, const char* path, struct stat* status, int flags) noexcept {
  return retried<Name::fstatat>(directory, path, status, flags);
}
extern "C" USERFAULT_ALIAS(fstatat) int fstatat64(int directory, const char* path, struct stat64* status,
                                                  int flags) noexcept;

USERFAULT_PRELOADED ssize_t readlink(const char* path, char* target, size_t bytes) noexcept {
  return retried<Name::readlink>(path, target, bytes);
}

USERFAULT_PRELOADED ssize_t getdents64(int fd, void* entries, size_t bytes) noexcept {
  return repaired(Access::kWrite, entries, bytes, [=] { return next<Name::getdents64>(fd, entries, bytes); });
}

// SPDX-License-Identifier: Apache-2.0
#include "preload/open/fdinfo.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "preload/symbols/libc_symbols.h"

namespace userfault::preload {
namespace {

using engine::user::Waiting;

constexpr std::string_view kProc = "/proc/";

// The part of `path` behind the process, which is this one; empty where it is another.
std::string_view behind_self(std::string_view path) noexcept {
  path.remove_prefix(kProc.size());
  for (const std::string_view name : {std::string_view("self/"), std::string_view("thread-self/")})
    if (path.starts_with(name)) return path.substr(name.size());
  int process = 0;
  const auto parsed = std::from_chars(path.data(), path.data() + path.size(), process);
  if (parsed.ec != std::errc() || process != engine::user::sys::getpid()) return {};
  path.remove_prefix(static_cast<std::size_t>(parsed.ptr - path.data()));
  return path.starts_with('/') ? path.substr(1) : std::string_view{};
}

// The descriptor whose fdinfo `path` names, or -1.
int descriptor_in(const char* text) noexcept {
  const std::string_view path(text);
  if (!path.starts_with(kProc)) return -1;
  constexpr std::string_view kFolder = "fdinfo/";
  std::string_view rest = behind_self(path);
  if (!rest.starts_with(kFolder)) return -1;
  rest.remove_prefix(kFolder.size());
  int fd = -1;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), fd);
  return parsed.ec == std::errc() && parsed.ptr == rest.data() + rest.size() ? fd : -1;
}

// The text, without its end; bit 31 of the features is the kernel's own: the handshake was done.
int describe(const Waiting& waiting, char* text, std::size_t room) noexcept {
  constexpr unsigned long long kInitialised = 1ULL << 31;
  // UFFD_API_IOCTLS | UFFD_API_RANGE_IOCTLS of Linux 6.18: a bit for each request there is.
  constexpr unsigned long long kOperations = 1ULL << 63 | 0x1ff;
  return std::snprintf(text, room, "pending:\t%zu\ntotal:\t%zu\nAPI:\taa:%llx:%llx\n", waiting.unread, waiting.all,
                       waiting.enabled ? waiting.features | kInitialised : 0ULL, kOperations);
}

}  // namespace

bool wants_fdinfo(const char* path) noexcept {
  if (path == nullptr || !engine::user::may_have_descriptors()) return false;
  Waiting waiting;
  const int fd = descriptor_in(path);
  return fd >= 0 && engine::user::count_waiting(fd, &waiting);
}

int open_fdinfo(const char* path, int flags) noexcept {
  if ((flags & O_ACCMODE) != O_RDONLY) return -EACCES;
  char text[1024];
  const long own = engine::user::raw_syscall(SYS_openat, AT_FDCWD, argument_of(path), O_RDONLY | O_CLOEXEC, 0);
  if (own < 0) return static_cast<int>(own);
  const long bytes = engine::user::sys::read(static_cast<int>(own), text, sizeof text / 2);
  engine::user::sys::close(static_cast<int>(own));
  if (bytes < 0) return static_cast<int>(bytes);
  Waiting waiting;
  static_cast<void>(engine::user::count_waiting(descriptor_in(path), &waiting));
  const int more = describe(waiting, text + bytes, sizeof text - static_cast<std::size_t>(bytes));
  const unsigned closes = (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0;
  const auto file =
      static_cast<int>(engine::user::raw_syscall(SYS_memfd_create, argument_of("userfault-fdinfo"), closes));
  if (file < 0) return file;
  engine::user::raw_syscall(SYS_pwrite64, file, argument_of(&text[0]), bytes + more, 0);
  return file;
}

}  // namespace userfault::preload

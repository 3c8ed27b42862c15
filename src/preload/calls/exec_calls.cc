// SPDX-License-Identifier: Apache-2.0
// execve(2) in its forms, and posix_spawn(3). A program that cannot have this library runs without it,
// which the log says; and arguments on closed pages are brought.
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/program_file.h"
#include "engine/user/rt/guarded_copy.h"
#include "preload/settings.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

constexpr std::size_t kPath = 4096;

// Calls below may come from a child of vfork: no memory but the stack's, and errno stays.
bool is_set_user(int fd) noexcept {
  struct stat status {};
  if (engine::user::raw_syscall(SYS_fstat, fd, argument_of(&status)) < 0) return false;
  const bool user = (status.st_mode & S_ISUID) != 0 && status.st_uid != ::getuid();
  const bool group = (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && status.st_gid != ::getgid();
  return user || group;
}

// Why the loader will not bring us along; null when it will.
const char* why_not(int directory, const char* path) noexcept {
  const long fd = engine::user::raw_syscall(SYS_openat, directory, argument_of(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return nullptr;
  char head[base::kProgramHead];
  const long got = engine::user::raw_syscall(SYS_pread64, fd, argument_of(&head[0]), sizeof head, 0);
  const bool set_user = is_set_user(static_cast<int>(fd));
  engine::user::sys::close(static_cast<int>(fd));
  if (got <= 0) return nullptr;
  if (set_user) return "it runs as another user (set-user-ID)";
  switch (base::look_at_program({head, static_cast<std::size_t>(got)}).kind) {
    case base::ProgramKind::kStatic: return "it is statically linked";
    case base::ProgramKind::kOtherLoader: return "its loader is not glibc's";
    case base::ProgramKind::kOtherMachine: return "it is a binary for another machine";
    default: return nullptr;
  }
}

// Looks at a string page by page, each of which `has` must allow first: a bad pointer stays the kernel's to
// refuse.
template <typename Has>
bool look_through(const char* text, Has has) noexcept {
  if (text == nullptr) return false;
  for (bool fresh = true;; ++text, fresh = reinterpret_cast<std::uintptr_t>(text) % 4096 == 0) {
    if (fresh && !has(text)) return false;
    if (*text == '\0') return true;
  }
}

// Asked of the kernel, since without a descriptor of ours no handler of ours stands: it reads the set before it
// finds that there is no such way to change a mask.
bool is_readable(const void* address) noexcept {
  const auto word = reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{7};
  return engine::user::raw_syscall(SYS_rt_sigprocmask, -1, static_cast<long>(word), 0, 8) != -EFAULT;
}

bool is_string(const char* text) noexcept {
  return look_through(text, [](const char* at) { return is_readable(at); });
}

bool keeps_library(char* const* environment) noexcept {
  for (; environment != nullptr && is_readable(environment) && is_string(*environment); ++environment)
    if (std::strncmp(*environment, "LD_PRELOAD=", 11) == 0 && std::strstr(*environment, "userfault-preload") != nullptr)
      return true;
  return false;
}

void note_program(const char* path, char* const* environment) noexcept {
  const int saved = errno;
  const char* reason = why_not(AT_FDCWD, path);
  if (reason == nullptr && !keeps_library(environment)) reason = "its environment has no LD_PRELOAD";
  if (reason != nullptr) log_line("%.200s runs without userfault: %s", path, reason);
  errno = saved;
}

// The program that execvp would find.
void note_name(const char* name, char* const* environment) noexcept {
  if (std::strchr(name, '/') != nullptr) {
    note_program(name, environment);
    return;
  }
  const char* directory = std::getenv("PATH");
  while (directory != nullptr && *directory != '\0') {
    const std::size_t length = std::strcspn(directory, ":");
    char path[kPath];
    const int wanted = std::snprintf(path, sizeof path, "%.*s/%s", static_cast<int>(length), directory, name);
    if (wanted > 0 && static_cast<std::size_t>(wanted) < sizeof path &&
        engine::user::raw_syscall(SYS_faccessat, AT_FDCWD, argument_of(&path[0]), X_OK) == 0) {
      note_program(path, environment);
      return;
    }
    directory += length + (directory[length] == ':' ? 1 : 0);
  }
}

bool is_logged(const char* path) noexcept { return settings().log != nullptr && is_string(path); }

bool bring_string(const char* text) noexcept {
  return look_through(text, [](const char* at) { return engine::user::touch(at); });
}

void bring_list(char* const* list) noexcept {
  for (; list != nullptr && engine::user::touch(list) && bring_string(*list); ++list) {
  }
}

// An exec that failed has done nothing, so it is made again.
template <typename Call>
int with_arguments(const char* path, char* const* arguments, char* const* environment, Call once) noexcept {
  const int result = once();
  const int error = result == -1 ? errno : result;
  if (error != EFAULT || !active()) return result;
  bring_string(path);
  bring_list(arguments);
  bring_list(environment);
  return once();
}

}  // namespace

USERFAULT_PRELOADED int execve(const char* path, char* const* arguments, char* const* environment) noexcept {
  if (is_logged(path)) note_program(path, environment);
  return with_arguments(path, arguments, environment, [=] { return next<Name::execve>(path, arguments, environment); });
}

// libc's own end in its own execve, which we do not see.
USERFAULT_PRELOADED int execv(const char* path, char* const* arguments) noexcept {
  return ::execve(path, arguments, environ);
}

USERFAULT_PRELOADED int execvpe(const char* name, char* const* arguments, char* const* environment) noexcept {
  if (is_logged(name)) note_name(name, environment);
  return with_arguments(name, arguments, environment,
                        [=] { return next<Name::execvpe>(name, arguments, environment); });
}

USERFAULT_PRELOADED int execvp(const char* name, char* const* arguments) noexcept {
  if (is_logged(name)) note_name(name, environ);
  return with_arguments(name, arguments, environ, [=] { return next<Name::execvpe>(name, arguments, environ); });
}

USERFAULT_PRELOADED int posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions,
                                    const posix_spawnattr_t* attributes, char* const* arguments,
                                    char* const* environment) {
  if (is_logged(path)) note_program(path, environment);
  return with_arguments(path, arguments, environment, [=] {
    return next<Name::posix_spawn>(child, path, actions, attributes, arguments, environment);
  });
}

USERFAULT_PRELOADED int posix_spawnp(pid_t* child, const char* name, const posix_spawn_file_actions_t* actions,
                                     const posix_spawnattr_t* attributes, char* const* arguments,
                                     char* const* environment) {
  if (is_logged(name)) note_name(name, environment);
  return with_arguments(name, arguments, environment, [=] {
    return next<Name::posix_spawnp>(child, name, actions, attributes, arguments, environment);
  });
}

// SPDX-License-Identifier: Apache-2.0
#include "preload/settings.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/user/rt/syscall.h"

namespace userfault::preload {
namespace {

constinit Settings stored;
constinit std::atomic<bool> is_read = false;

Choice choice_of(const char* text) noexcept {
  if (text != nullptr && std::strcmp(text, "user") == 0) return Choice::kUser;
  if (text != nullptr && std::strcmp(text, "kernel") == 0) return Choice::kKernel;
  return Choice::kAutomatic;
}

}  // namespace

// Two threads that come first both write the same values.
const Settings& settings() noexcept {
  // Acquire pairs with the release below.
  if (is_read.load(std::memory_order_acquire)) return stored;
  stored.choice = choice_of(std::getenv("USERFAULT_ENGINE"));
  const char* trap = std::getenv("USERFAULT_TRAP");
  stored.trap = stored.choice != Choice::kKernel && (trap == nullptr || std::strcmp(trap, "0") != 0);
  stored.log = std::getenv("USERFAULT_LOG");
  if (stored.log != nullptr && *stored.log == '\0') stored.log = nullptr;
  is_read.store(true, std::memory_order_release);
  return stored;
}

// The log is opened for each line: a program may close every descriptor that it does not know, and
// change its directory, its root and its user; what can no longer be written is not worth failing.
void log_line(const char* format, ...) noexcept {
  if (settings().log == nullptr) return;
  const int saved = errno;
  char line[400];
  int length = std::snprintf(line, sizeof line, "userfault[%d]: ", engine::user::sys::getpid());
  std::va_list arguments;
  va_start(arguments, format);
  length += std::vsnprintf(line + length, sizeof line - static_cast<std::size_t>(length) - 1, format, arguments);
  va_end(arguments);
  if (length > static_cast<int>(sizeof line) - 2) length = sizeof line - 2;
  line[length] = '\n';
  const bool to_stderr = std::strcmp(stored.log, "-") == 0;
  const long fd = to_stderr ? 2
                            : engine::user::raw_syscall(SYS_openat, AT_FDCWD, engine::user::as_long(stored.log),
                                                        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd >= 0) engine::user::sys::write(static_cast<int>(fd), line, static_cast<std::size_t>(length) + 1);
  if (fd >= 0 && !to_stderr) engine::user::sys::close(static_cast<int>(fd));
  errno = saved;
}

}  // namespace userfault::preload

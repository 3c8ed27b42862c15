// SPDX-License-Identifier: Apache-2.0
#include "engine/open_methods.h"

#include <signal.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "engine/kernel/kernel_engine.h"
#include "engine/kernel/refusal_cause.h"
#include "engine/kernel/seccomp_probe.h"

namespace userfault::engine {

int open_through(OpenMethod method, int flags) noexcept {
  if (kernel::would_kill(method, flags)) return -EPERM;
  return method == OpenMethod::kSyscall ? kernel::open_by_syscall(flags) : kernel::open_by_device(flags);
}

Answer ask(OpenMethod method, int flags) noexcept {
  if (kernel::would_kill(method, flags)) return {.error = 0, .signal = SIGSYS};
  const int fd = method == OpenMethod::kSyscall ? kernel::open_by_syscall(flags) : kernel::open_by_device(flags);
  if (fd < 0) return {.error = -fd};
  ::close(fd);
  return {};
}

Refuser who_refused(OpenMethod method, int flags, Answer answer) noexcept {
  return kernel::classify(kernel::observe(method, flags, answer));
}

// A limit is named as it is: by now, the descriptor that was too many may be closed again.
Refuser who_refused(int flags, int error) noexcept {
  Answer answer{.error = error};
  if (error == EPERM && kernel::would_kill(OpenMethod::kSyscall, flags)) answer = {.error = 0, .signal = SIGSYS};
  return who_refused(OpenMethod::kSyscall, flags, answer);
}

abi::Version kernel_version() noexcept {
  utsname name{};
  if (::uname(&name) != 0) return {};
  char* rest = nullptr;
  const auto major = static_cast<int>(std::strtol(name.release, &rest, 10));
  const auto minor = *rest == '.' ? static_cast<int>(std::strtol(rest + 1, nullptr, 10)) : 0;
  return {major, minor};
}

}  // namespace userfault::engine

// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel/seccomp_probe.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

#include "engine/kernel/proc_text.h"
#include "userfault/abi.h"

namespace userfault::engine::kernel {
namespace {

constexpr std::size_t kSignalSetBytes = 8;  // the kernel's sigset_t, not libc's
constexpr std::size_t kStackBytes = 32 * 1024;
constexpr abi::Version kCoreDumpOfOneProcess{5, 16};

struct Request {
  OpenMethod method;
  int flags;
};

// Runs in the child, on memory that is ours: only system calls, and the exit status carries the
// errno. It is not instrumented, because it may be killed in its middle: a sanitizer's marks on its
// frames would stay behind in the parent.
__attribute__((no_sanitize("address", "thread", "undefined"))) int attempt(void* argument) noexcept {
  const auto* const request = static_cast<const Request*>(argument);
  rlimit limit{1, 1};
  if (::syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, nullptr) != 0) {
    limit = {0, 0};
    ::syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, nullptr);
  }
  if (request->method == OpenMethod::kSyscall) return ::syscall(SYS_userfaultfd, request->flags) < 0 ? errno : 0;
  const long device = ::syscall(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) return errno;
  return ::syscall(SYS_ioctl, device, USERFAULT_DEV_IOC_NEW, request->flags) < 0 ? errno : 0;
}

Answer answer_of(pid_t child) noexcept {
  int status = 0;
  pid_t reaped;
  do reaped = ::waitpid(child, &status, __WALL);
  while (reaped < 0 && errno == EINTR);
  // Somebody else's wait took it: what it said is lost, and not to ask is the safe reading.
  if (reaped != child) return {.error = EPERM};
  if (WIFSIGNALED(status)) return {.error = 0, .signal = WTERMSIG(status)};
  return {.error = WEXITSTATUS(status)};
}

enum class Verdict : unsigned char { kUnknown, kSafe, kKills };

struct Verdicts {
  int filters = -1;
  std::array<Verdict, 4> of{};
};

constinit thread_local Verdicts verdicts;

Verdict& remembered(OpenMethod method, int flags) noexcept {
  return verdicts.of[(method == OpenMethod::kDevice ? 2u : 0u) + ((flags & USERFAULT_USER_MODE_ONLY) != 0 ? 1u : 0u)];
}

}  // namespace

SeccompState seccomp_state() noexcept {
  std::array<char, 4096> buffer;
  const auto status = read_text("/proc/thread-self/status", buffer);
  if (!status) return {};
  const auto mode = field(*status, "Seccomp");
  const auto filters = field(*status, "Seccomp_filters");
  return {.mode = mode ? static_cast<int>(*mode) : -1, .filters = filters ? static_cast<int>(*filters) : -1};
}

Answer ask_in_child(OpenMethod method, int flags) noexcept {
  Request request{method, flags};
  alignas(16) std::byte stack[kStackBytes];
  std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t before = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, kSignalSetBytes);
  const int how = kernel_version() >= kCoreDumpOfOneProcess ? CLONE_VM | CLONE_VFORK : 0;
  const int child = ::clone(attempt, stack + kStackBytes, how, &request);
  const Answer answer = child < 0 ? Answer{.error = errno} : answer_of(child);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, kSignalSetBytes);
  return answer;
}

bool would_kill(OpenMethod method, int flags) noexcept {
  const SeccompState state = seccomp_state();
  if (state.mode == 0) return false;
  if (state.filters < 0 || state.filters != verdicts.filters) verdicts = {.filters = state.filters, .of = {}};
  Verdict& verdict = remembered(method, flags);
  if (verdict != Verdict::kUnknown) return verdict == Verdict::kKills;
  const Answer answer = ask_in_child(method, flags);
  const bool kills = answer.signal != 0;
  // Without a count of filters a later one would go unnoticed: nothing is kept.
  if (state.filters >= 0) verdict = kills ? Verdict::kKills : Verdict::kSafe;
  return kills;
}

}  // namespace userfault::engine::kernel

// SPDX-License-Identifier: Apache-2.0
#include "preload/trap/trap.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "engine/user/signal/chain.h"
#include "preload/settings.h"
#include "preload/signals/masks.h"
#include "preload/trap/dispatch.h"
#include "preload/trap/trap_context.h"
#include "preload/trap/trap_filter.h"

namespace userfault::preload {
namespace {

constexpr int kBySeccomp = 1;  // SYS_SECCOMP, which glibc hides

// Our handler runs under the interrupted code's mask, and that goes on with the one in its frame.
long change_frame_mask(ucontext_t& context) noexcept {
  const long result = preloaded_call(SYS_rt_sigprocmask, argument_of(context, 0), argument_of(context, 1),
                                     argument_of(context, 2), argument_of(context, 3), 0, 0);
  engine::user::SignalMask mask = 0;
  engine::user::raw_sigprocmask(SIG_BLOCK, 0, &mask);
  std::memcpy(&context.uc_sigmask, &mask, sizeof mask);
  return result;
}

// The child of a clone(2) goes on where its parent was interrupted, on the stack that it was given.
long clone_process(ucontext_t& context) noexcept {
  const long stack = argument_of(context, 1);
  const long result = preloaded_call(SYS_clone, argument_of(context, 0), 0, argument_of(context, 2),
                                     argument_of(context, 3), argument_of(context, 4), 0);
  if (result == 0 && stack != 0) set_stack(context, stack);
  return result;
}

long make_call(long number, ucontext_t& context) noexcept {
  if (number == SYS_clone) return clone_process(context);
  if (number == SYS_rt_sigprocmask) return change_frame_mask(context);
  return preloaded_call(number, argument_of(context, 0), argument_of(context, 1), argument_of(context, 2),
                        argument_of(context, 3), argument_of(context, 4), argument_of(context, 5));
}

void on_sigsys(int signal, siginfo_t* info, void* context) {
  if (info->si_code != kBySeccomp || info->si_errno != static_cast<int>(kTrapTag))
    return engine::user::chain(signal, info, context);
  auto* const interrupted = static_cast<ucontext_t*>(context);
  const int saved = errno;
  long result = make_call(info->si_syscall, *interrupted);
  if (result == -1) result = -errno;
  errno = saved;
  set_result(*interrupted, result);
}

long set_filter(const sock_fprog& program) noexcept {
  constexpr unsigned kAllThreads = SECCOMP_FILTER_FLAG_TSYNC;
  // Without the second flag kernels before 5.16 slow every thread down (Speculative Store Bypass).
  const long result =
      engine::user::raw_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kAllThreads | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                                engine::user::as_long(&program));
  if (result != -EINVAL) return result;
  return engine::user::raw_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kAllThreads, engine::user::as_long(&program));
}

// Who has CAP_SYS_ADMIN keeps what no_new_privs takes: sudo in a program's children.
long set_filter_somehow(const sock_fprog& program) noexcept {
  const long result = set_filter(program);
  if (result != -EACCES) return result;
  engine::user::raw_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return set_filter(program);
}

}  // namespace

bool trap_raw_calls() noexcept {
  if (!settings().trap) return false;
  // Static, and not on a stack that may be small.
  static constinit WatchedCode code{};
  find_watched_code(&code);
  static TrapFilter filter(code, taken_numbers());
  if (engine::user::install(SIGSYS, on_sigsys) < 0) return false;
  const long result = set_filter_somehow(filter.program());
  if (result == 0) {
    log_line("system calls that go past libc are trapped (%zu ranges of code)", code.count);
    return true;
  }
  log_line("system calls that go past libc are not seen: seccomp(2) says %s",
           result > 0 ? "that a thread has a filter of its own" : strerrorname_np(static_cast<int>(-result)));
  return false;
}

void expect_inherited_traps() noexcept {
  constexpr long kFilter = 2;  // SECCOMP_MODE_FILTER
  if (settings().trap && engine::user::raw_syscall(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) == kFilter)
    static_cast<void>(engine::user::install(SIGSYS, on_sigsys));
}

}  // namespace userfault::preload

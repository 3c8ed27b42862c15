// SPDX-License-Identifier: Apache-2.0
// The signal functions before POSIX had sigaction, which inside libc go past its symbols, and masks that are
// kept elsewhere: in a context, in a thread's attributes.
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include <cerrno>
#include <cstring>

#include "preload/signals/masks.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

sighandler_t set_handler(int signal, sighandler_t handler, int flags) noexcept {
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

int change_one(int how, int signal) noexcept {
  sigset_t set;
  sigemptyset(&set);
  return sigaddset(&set, signal) == 0 ? sigprocmask(how, &set, nullptr) : -1;
}

bool is_blocked(int signal) noexcept {
  sigset_t now;
  return sigprocmask(SIG_BLOCK, nullptr, &now) == 0 && sigismember(&now, signal) == 1;
}

// BSD's masks have 32 signals.
sigset_t set_of(int mask) noexcept {
  sigset_t set;
  sigemptyset(&set);
  std::memcpy(&set, &mask, sizeof mask);
  return set;
}
int change_old(int how, int mask) noexcept {
  const sigset_t set = set_of(mask);
  sigset_t old;
  if (sigprocmask(how, &set, &old) != 0) return -1;
  int before = 0;
  std::memcpy(&before, &old, sizeof before);
  return before;
}

// The mask that a context will bring with it, in its place.
void make_real(ucontext_t* context) noexcept {
  if (context == nullptr) return;
  const RealMask real(&context->uc_sigmask);
  if (real.get() != &context->uc_sigmask) context->uc_sigmask = *real.get();
}

}  // namespace

USERFAULT_PRELOADED sighandler_t sysv_signal(int signal, sighandler_t handler) noexcept {
  return set_handler(signal, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER));
}
extern "C" USERFAULT_ALIAS(sysv_signal) sighandler_t __sysv_signal(int signal, sighandler_t handler) noexcept;

USERFAULT_PRELOADED int sighold(int signal) noexcept { return change_one(SIG_BLOCK, signal); }
USERFAULT_PRELOADED int sigrelse(int signal) noexcept { return change_one(SIG_UNBLOCK, signal); }
USERFAULT_PRELOADED int sigignore(int signal) noexcept { return set_handler(signal, SIG_IGN, 0) == SIG_ERR ? -1 : 0; }

USERFAULT_PRELOADED sighandler_t sigset(int signal, sighandler_t handler) noexcept {
  const bool was_blocked = is_blocked(signal);
  struct sigaction old {};
  if (sigaction(signal, nullptr, &old) != 0) return SIG_ERR;
  if (handler == SIG_HOLD) {
    if (change_one(SIG_BLOCK, signal) != 0) return SIG_ERR;
  } else if (set_handler(signal, handler, 0) == SIG_ERR || change_one(SIG_UNBLOCK, signal) != 0) {
    return SIG_ERR;
  }
  return was_blocked ? SIG_HOLD : old.sa_handler;
}

USERFAULT_PRELOADED int sigblock(int mask) noexcept { return change_old(SIG_BLOCK, mask); }
USERFAULT_PRELOADED int sigsetmask(int mask) noexcept { return change_old(SIG_SETMASK, mask); }

// The saved context goes on inside this function, whose frame is on the stack that was left.
USERFAULT_PRELOADED int swapcontext(ucontext_t* from, const ucontext_t* to) noexcept {
  make_real(const_cast<ucontext_t*>(to));
  return next<Name::swapcontext>(from, to);
}
USERFAULT_PRELOADED int setcontext(const ucontext_t* context) noexcept {
  make_real(const_cast<ucontext_t*>(context));
  return next<Name::setcontext>(context);
}

USERFAULT_PRELOADED int pthread_attr_setsigmask_np(pthread_attr_t* attributes, const sigset_t* mask) {
  const RealMask real(mask);
  return next<Name::pthread_attr_setsigmask_np>(attributes, real.get());
}
USERFAULT_PRELOADED int pthread_attr_getsigmask_np(const pthread_attr_t* attributes, sigset_t* mask) {
  const int result = next<Name::pthread_attr_getsigmask_np>(attributes, mask);
  if (result == 0) show_mask(mask);
  return result;
}

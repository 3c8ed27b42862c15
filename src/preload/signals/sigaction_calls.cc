// SPDX-License-Identifier: Apache-2.0
// sigaction(2) and signal(3) on the signals that the engine has taken: the program changes and reads
// what the engine chains to (engine/user/signal/chain.h), and cannot tell.
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "engine/user/signal/chain.h"
#include "preload/signals/masks.h"
#include "preload/signals/sigaction_calls.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

constinit std::atomic<bool> interrupts = false;

// Relaxed: a handler that is installed while another thread waits may or may not count for it.
void note(const struct sigaction* action) noexcept {
  if (action == nullptr || (action->sa_flags & SA_RESTART) != 0) return;
  if (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN) interrupts.store(true, std::memory_order_relaxed);
}

using engine::user::KernelSigaction;

// libc adds SA_RESTORER and a restorer of its own; what chains brings its own way back.
KernelSigaction to_kernel(const struct sigaction& action) noexcept {
  KernelSigaction kernel{.handler = action.sa_sigaction, .flags = static_cast<unsigned>(action.sa_flags)};
  std::memcpy(&kernel.mask, &action.sa_mask, sizeof kernel.mask);
  return kernel;
}

struct sigaction from_kernel(const KernelSigaction& kernel) noexcept {
  struct sigaction action {};
  action.sa_sigaction = kernel.handler;
  action.sa_flags = static_cast<int>(kernel.flags & ~engine::user::kSaRestorer);
  std::memcpy(&action.sa_mask, &kernel.mask, sizeof kernel.mask);
  return action;
}

int change_taken(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
  const KernelSigaction before = action != nullptr ? engine::user::set_program_action(signal, to_kernel(*action))
                                                   : engine::user::get_program_action(signal);
  if (old != nullptr) *old = from_kernel(before);
  return 0;
}

}  // namespace

bool userfault::preload::some_handler_interrupts() noexcept { return interrupts.load(std::memory_order_relaxed); }

USERFAULT_PRELOADED int sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
  note(action);
  if (engine::user::is_installed(signal)) return change_taken(signal, action, old);
  // A handler's mask must not block our signals either.
  struct sigaction real {};
  if (action != nullptr) {
    real = *action;
    const RealMask mask(&action->sa_mask);
    real.sa_mask = *mask.get();
  }
  const int result = next<Name::sigaction>(signal, action != nullptr ? &real : nullptr, old);
  if (result == 0 && old != nullptr) show_mask(&old->sa_mask);
  return result;
}
extern "C" USERFAULT_ALIAS(sigaction) int __sigaction(int signal, const struct sigaction* action,
                                                      struct sigaction* old) noexcept;

// BSD's meaning, which is what glibc gives: the handler stays, system calls go on.
USERFAULT_PRELOADED sighandler_t signal(int signal, sighandler_t handler) noexcept {
  if (!engine::user::is_installed(signal)) return next<Name::signal>(signal, handler);
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaddset(&action.sa_mask, signal);
  change_taken(signal, &action, &old);
  return old.sa_handler;
}
extern "C" {
USERFAULT_ALIAS(signal) sighandler_t bsd_signal(int signal, sighandler_t handler) noexcept;
USERFAULT_ALIAS(signal) sighandler_t ssignal(int signal, sighandler_t handler) noexcept;
}

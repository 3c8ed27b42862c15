// SPDX-License-Identifier: Apache-2.0
#include "preload/masks.h"

#include "engine/user/sigsafe/chain.h"
#include "preload/next.h"
#include "preload/settings.h"

namespace userfault::preload {
namespace {

constexpr int kMark = sigsafe::marker_of(SIGSEGV);

bool leaves_alone() noexcept { return settings().choice == Choice::kKernel; }

}  // namespace

RealMask::RealMask(const sigset_t* wanted) noexcept : pointer_(wanted) {
  if (wanted == nullptr || leaves_alone() || sigismember(wanted, SIGSEGV) != 1) return;
  mask_ = *wanted;
  sigdelset(&mask_, SIGSEGV);
  sigaddset(&mask_, kMark);
  pointer_ = &mask_;
}

void show_mask(sigset_t* read) noexcept {
  if (read != nullptr && !leaves_alone() && sigismember(read, kMark) == 1) sigaddset(read, SIGSEGV);
}

void mark_inherited_mask() noexcept {
  if (leaves_alone()) return;
  sigsafe::SignalMask mask = 0;
  sigsafe::raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, sigsafe::as_long(&mask), sizeof mask);
  if ((mask & sigsafe::bit_of(SIGSEGV)) == 0) return;
  sigsafe::sys::swap_signal_mask((mask & ~sigsafe::bit_of(SIGSEGV)) | sigsafe::bit_of(kMark));
}

}  // namespace userfault::preload

using namespace userfault::preload;

namespace {

template <typename Function>
int change_mask(Function function, int how, const sigset_t* mask, sigset_t* old) noexcept {
  const RealMask real(mask);
  const int result = function(how, real.get(), old);
  if (result == 0) show_mask(old);
  return result;
}

// libc's sigset_t is longer than the kernel's, but its first word is the kernel's whole mask.
int change_mask_early(int how, const sigset_t* mask, sigset_t* old) noexcept {
  return static_cast<int>(
      userfault::sigsafe::raw_syscall(SYS_rt_sigprocmask, how, argument_of(mask), argument_of(old), 8));
}

}  // namespace

USERFAULT_PRELOADED int sigprocmask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  if (next.sigprocmask == nullptr) return finish(change_mask(change_mask_early, how, mask, old));
  return change_mask(next.sigprocmask, how, mask, old);
}

// Returns the error instead of setting errno.
USERFAULT_PRELOADED int pthread_sigmask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  if (next.pthread_sigmask == nullptr) return -change_mask(change_mask_early, how, mask, old);
  return change_mask(next.pthread_sigmask, how, mask, old);
}

USERFAULT_PRELOADED int sigsuspend(const sigset_t* mask) {
  const RealMask real(mask);
  return next.sigsuspend(real.get());
}

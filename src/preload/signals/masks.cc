// SPDX-License-Identifier: Apache-2.0
#include "preload/signals/masks.h"

#include <cstring>

#include "engine/user/signal/chain.h"
#include "preload/repair/repair.h"
#include "preload/settings.h"
#include "preload/symbols/libc_symbols.h"

namespace userfault::preload {
namespace {

constexpr int kMark = engine::user::marker_of(SIGSEGV);

bool leaves_alone() noexcept { return settings().choice == Choice::kKernel; }

// libc's sigset_t is longer than the kernel's, but its first word is the kernel's whole mask.
engine::user::SignalMask word_of(const sigset_t& mask) noexcept {
  engine::user::SignalMask word;
  std::memcpy(&word, &mask, sizeof word);
  return word;
}

}  // namespace

engine::user::SignalMask real_mask_of(engine::user::SignalMask wanted) noexcept {
  using engine::user::bit_of;
  if (leaves_alone()) return wanted;
  if (settings().trap) wanted &= ~bit_of(SIGSYS);
  if ((wanted & bit_of(SIGSEGV)) == 0) return wanted;
  return (wanted & ~bit_of(SIGSEGV)) | bit_of(kMark);
}

engine::user::SignalMask shown_mask_of(engine::user::SignalMask read) noexcept {
  using engine::user::bit_of;
  if (leaves_alone() || (read & bit_of(kMark)) == 0) return read;
  return read | bit_of(SIGSEGV) | (settings().trap ? bit_of(SIGSYS) : 0);
}

RealMask::RealMask(const sigset_t* wanted) noexcept : pointer_(wanted) {
  if (wanted == nullptr) return;
  const engine::user::SignalMask real = real_mask_of(word_of(*wanted));
  if (real == word_of(*wanted)) return;
  mask_ = *wanted;
  std::memcpy(&mask_, &real, sizeof real);
  pointer_ = &mask_;
}

void show_mask(sigset_t* read) noexcept {
  if (read == nullptr) return;
  const engine::user::SignalMask shown = shown_mask_of(word_of(*read));
  std::memcpy(read, &shown, sizeof shown);
}

void mark_inherited_mask() noexcept {
  if (leaves_alone()) return;
  engine::user::SignalMask mask = 0;
  engine::user::raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, engine::user::as_long(&mask), sizeof mask);
  if (real_mask_of(mask) != mask) engine::user::sys::swap_signal_mask(real_mask_of(mask));
}

}  // namespace userfault::preload

using namespace userfault::preload;

namespace {

template <Name name>
int change_mask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  const RealMask real(mask);
  bring(Access::kWrite, old, sizeof *old);
  const int result = next<name>(how, real.get(), old);
  if (result == 0) show_mask(old);
  return result;
}

}  // namespace

USERFAULT_PRELOADED int sigprocmask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  return change_mask<Name::sigprocmask>(how, mask, old);
}

// Returns the error instead of setting errno.
USERFAULT_PRELOADED int pthread_sigmask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  return change_mask<Name::pthread_sigmask>(how, mask, old);
}

USERFAULT_PRELOADED int sigsuspend(const sigset_t* mask) {
  const RealMask real(mask);
  return next<Name::sigsuspend>(real.get());
}

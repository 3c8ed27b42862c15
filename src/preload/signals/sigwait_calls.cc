// SPDX-License-Identifier: Apache-2.0
// Signals that are taken without a handler. SIGSEGV that was sent while the program has it blocked is pending
// under the mark (masks.h, engine/user/signal/chain.h): it is looked for there, too, and shown as what it is.
#include <signal.h>

#include <cerrno>
#include <cstring>

#include "engine/user/signal/chain.h"
#include "preload/repair/repair.h"
#include "preload/signals/masks.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

constexpr int kMark = engine::user::marker_of(SIGSEGV);

// The set with the mark where it has SIGSEGV; sigset_t's first word is the kernel's whole mask.
class WantedSet {
 public:
  explicit WantedSet(const sigset_t* wanted) noexcept : pointer_(wanted) {
    if (wanted == nullptr || sigismember(wanted, SIGSEGV) != 1) return;
    set_ = *wanted;
    sigaddset(&set_, kMark);
    pointer_ = &set_;
  }
  [[nodiscard]] const sigset_t* get() const noexcept { return pointer_; }

 private:
  sigset_t set_;
  const sigset_t* pointer_;
};

}  // namespace

USERFAULT_PRELOADED int sigpending(sigset_t* pending) noexcept {
  bring(Access::kWrite, pending, sizeof *pending);
  const int result = next<Name::sigpending>(pending);
  if (result == 0 && sigismember(pending, kMark) == 1) {
    sigdelset(pending, kMark);
    sigaddset(pending, SIGSEGV);
  }
  return result;
}

USERFAULT_PRELOADED int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
  const WantedSet wanted(set);
  siginfo_t own;
  siginfo_t* const found = info != nullptr ? info : &own;
  const int result = next<Name::sigtimedwait>(wanted.get(), found, timeout);
  return result == kMark && engine::user::take_held(found) ? SIGSEGV : result;
}

USERFAULT_PRELOADED int sigwaitinfo(const sigset_t* set, siginfo_t* info) { return sigtimedwait(set, info, nullptr); }

// Returns the error, and goes on after a handler.
USERFAULT_PRELOADED int sigwait(const sigset_t* set, int* signal) {
  const int saved = errno;
  int found = -1;
  do found = sigtimedwait(set, nullptr, nullptr);
  while (found < 0 && errno == EINTR);
  const int error = errno;
  errno = saved;
  if (found < 0) return error;
  *signal = found;
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "engine/user/rt/check.h"

#include <signal.h>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

// As abort(3): the program's own handler of SIGABRT runs first, and where it returns the default action ends the
// process. All that stands below is on this thread's stack, so no lock can be in the way.
void abort_with(const char* line, std::size_t length) noexcept {
  sys::write(2, line, length);
  const SignalMask abort_alone = bit_of(SIGABRT);
  raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, as_long(&abort_alone), 0, sizeof abort_alone);
  sys::tgkill(sys::getpid(), sys::gettid(), SIGABRT);
  const unsigned long default_action[4] = {};
  raw_syscall(SYS_rt_sigaction, SIGABRT, as_long(default_action), 0, sizeof abort_alone);
  for (;;) {
    sys::tgkill(sys::getpid(), sys::gettid(), SIGABRT);
    __builtin_trap();
  }
}

}  // namespace userfault::engine::user

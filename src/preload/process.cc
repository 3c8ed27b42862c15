// SPDX-License-Identifier: Apache-2.0
// fork(2). vfork(2), posix_spawn(3) and clone(2) with CLONE_VM raise no event (real-kernel row 25)
// and leave the memory as it is.
#include <unistd.h>

#include "preload/next.h"

using namespace userfault::preload;

USERFAULT_PRELOADED pid_t fork() noexcept {
  if (active()) return finish(user_engine().fork());
  return next.fork();
}
extern "C" USERFAULT_ALIAS(fork) pid_t __fork() noexcept;

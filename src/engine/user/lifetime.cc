// SPDX-License-Identifier: Apache-2.0
#include "engine/user/lifetime.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>

#include "engine/user/descriptor/descriptor_table.h"
#include "engine/user/fault/handler.h"
#include "engine/user/fork/fork.h"
#include "engine/user/ops/registration.h"
#include "engine/user/remote/agent.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/wait/fault_queue.h"

namespace userfault::engine::user {
namespace {

long prepare() noexcept {
  // Every time: the program may have taken the signals for itself since the last one. Its handler is
  // then what the engine's chains to.
  if (const long result = install_handlers(); result < 0) return result;
  if (const long result = prepare_waiters(); result < 0) return result;
  agent::when_unused(end_if_closed);
  watch_forks();
  return 0;
}

Instance* free_instance() noexcept {
  for (Instance& instance : instances)
    if (!instance.used.load()) return &instance;
  return nullptr;
}

// Whether any read end of the pipe is open anywhere: its write end reports POLLERR when none is.
bool has_readers(const Instance& instance) noexcept {
  pollfd entry{.fd = instance.doorbell, .events = 0, .revents = 0};
  const timespec now{};
  raw_syscall(SYS_ppoll, as_long(&entry), 1, as_long(&now), 0, 8);
  return (entry.revents & POLLERR) == 0;
}

}  // namespace

int open_instance(int flags) noexcept {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY)) != 0) return -EINVAL;
  // No monitor would look at its faults, and a thread of the parent may have held the locks.
  if (!is_own_process()) return -EPERM;
  SignalsBlocked blocked;
  Locked locked(opening);
  if (const long result = prepare(); result < 0) return static_cast<int>(result);
  Instance* instance = free_instance();
  if (instance == nullptr) return -EMFILE;
  Pipe pipe;
  if (const long result = make_pipe(flags, &pipe); result < 0) return static_cast<int>(result);
  instance->open_flags = flags & (O_CLOEXEC | O_NONBLOCK);
  instance->user_mode_only = (flags & USERFAULT_USER_MODE_ONLY) != 0;
  instance->enabled.store(false);
  instance->features = 0;
  enter_instance(*instance, pipe);
  agent::publish(*instance);
  return pipe.reader;
}

void end_if_closed(Instance& instance) noexcept {
  SignalsBlocked blocked;
  Locked locked(opening);
  // Asked again under the lock: the slot may have been given to another one meanwhile.
  if (!instance.used.load() || has_readers(instance)) return;
  unregister_all(instance);
  instance.used.store(false);
  release_all(instance);
  agent::forget(instance);
  leave_instance(instance);
}

}  // namespace userfault::engine::user

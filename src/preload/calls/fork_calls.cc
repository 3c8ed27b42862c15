// SPDX-License-Identifier: Apache-2.0
// fork(2) and clone(2). vfork(2), posix_spawn(3) and clone(2) with CLONE_VM raise no event (real-kernel
// row 25) and leave the memory as it is.
#include "preload/calls/fork_calls.h"

#include <sched.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>

#include "engine/user/fork/fork.h"
#include "preload/open/numbers.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

// A task with other memory but the same descriptors opens some that this one does not hear of, and the other
// way round (open/numbers.h).
void note_shared_descriptors(std::uint64_t flags) noexcept {
  if ((flags & CLONE_FILES) != 0 && (flags & CLONE_VM) == 0) mark_all_numbers();
}

// Whether the engine gives the child memory of its own. Not with shared descriptors: what it closes in the
// child would be closed here, so such a child has no served memory at all.
bool copies_memory(std::uint64_t flags) noexcept { return (flags & (CLONE_VM | CLONE_FILES)) == 0 && active(); }

}  // namespace

// A parent that waits until the child runs another program (CLONE_VFORK) cannot give it its memory: it
// goes on at once, as after fork(2).
long userfault::preload::clone_process(long flags, long third, long fourth, long fifth) noexcept {
  note_shared_descriptors(static_cast<std::uint64_t>(flags));
  if (!copies_memory(static_cast<std::uint64_t>(flags)))
    return engine::user::raw_syscall(SYS_clone, flags, 0, third, fourth, fifth);
  engine::user::before_fork();
  const long child = engine::user::raw_syscall(SYS_clone, flags & ~CLONE_VFORK, 0, third, fourth, fifth);
  if (child == 0) engine::user::after_fork_in_child();
  else engine::user::after_fork_in_parent();
  return child;
}

// The flags come first in its struct.
long userfault::preload::clone3_process(long request, long size) noexcept {
  constexpr long kKnown = 256;
  char own[kKnown];
  std::uint64_t flags = 0;
  if (size < static_cast<long>(sizeof flags) || size > kKnown)
    return engine::user::raw_syscall(SYS_clone3, request, size);
  std::memcpy(own, reinterpret_cast<const void*>(request), static_cast<std::size_t>(size));
  std::memcpy(&flags, own, sizeof flags);
  note_shared_descriptors(flags);
  if (!copies_memory(flags)) return engine::user::raw_syscall(SYS_clone3, request, size);
  flags &= ~std::uint64_t{CLONE_VFORK};
  std::memcpy(own, &flags, sizeof flags);
  engine::user::before_fork();
  const long child = engine::user::raw_syscall(SYS_clone3, argument_of(&own[0]), size);
  if (child == 0) engine::user::after_fork_in_child();
  else engine::user::after_fork_in_parent();
  return child;
}

namespace {

struct Start {
  int (*function)(void*);
  void* argument;
};

// The parent's frame is in the copy that the child has of it.
int start_child(void* argument) {
  const Start start = *static_cast<const Start*>(argument);
  engine::user::after_fork_in_child();
  engine::user::end_thread(start.function(start.argument));
}

}  // namespace

USERFAULT_PRELOADED pid_t fork() noexcept {
  if (active()) return finish(user_engine().fork());
  return next<Name::fork>();
}
extern "C" USERFAULT_ALIAS(fork) pid_t __fork() noexcept;

// fork(3) without its handlers, ours among them (glibc 2.34).
USERFAULT_PRELOADED pid_t _Fork() noexcept {
  if (!active()) return next<Name::_Fork>();
  engine::user::before_fork();
  const pid_t child = next<Name::_Fork>();
  const int error = errno;
  if (child == 0) engine::user::after_fork_in_child();
  else engine::user::after_fork_in_parent();
  errno = error;
  return child;
}

// The last three are there only with the flags that need them; reading them otherwise is what glibc
// does, too.
USERFAULT_PRELOADED int clone(int (*function)(void*), void* stack, int flags, void* argument, ...) noexcept {
  va_list arguments;
  va_start(arguments, argument);
  auto* const parent_tid = va_arg(arguments, pid_t*);
  void* const tls = va_arg(arguments, void*);
  auto* const child_tid = va_arg(arguments, pid_t*);
  va_end(arguments);
  note_shared_descriptors(static_cast<unsigned>(flags));
  if (!copies_memory(static_cast<unsigned>(flags)) || function == nullptr || stack == nullptr)
    return next<Name::clone>(function, stack, flags, argument, parent_tid, tls, child_tid);
  Start start{.function = function, .argument = argument};
  engine::user::before_fork();
  const int child = next<Name::clone>(start_child, stack, flags & ~CLONE_VFORK, &start, parent_tid, tls, child_tid);
  const int error = errno;
  engine::user::after_fork_in_parent();
  errno = error;
  return child;
}

// SPDX-License-Identifier: Apache-2.0
// The beginning and the end of an instance: the one place that joins descriptors, signal handlers, the agent and fork.
//
// Threads: everything from any thread.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// userfaultfd(2): a descriptor. -EINVAL: a flag that it does not have. -EMFILE: no number, or kMaxInstances are open.
// -EPERM: in a copy of the process that was made without libc's fork. -ENOMEM, and what pipe2(2) and rt_sigaction(2)
// return.
[[nodiscard]] int open_instance(int flags) noexcept;
// Ends the instance unless a process, this or another one, still has a read end.
void end_if_closed(Instance& instance) noexcept;

}  // namespace userfault::engine::user

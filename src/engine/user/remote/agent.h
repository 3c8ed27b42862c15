// SPDX-License-Identifier: Apache-2.0
// The agent: one thread of the process that owns the memory, which other processes' operations go
// through, and which notices when the last read end of a doorbell is closed behind our back.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user::agent {

// All under `opening`, or alone in the child of a fork.

// What to call for an instance whose last read end was closed; before the first publish(). In the agent's thread,
// without `opening`.
using EndFunction = void (*)(Instance& instance) noexcept;
void when_unused(EndFunction end) noexcept;
// Makes the instance reachable; starts the thread if it is not running. What cannot be had (sockets,
// a thread) is done without: then other processes get ESRCH.
void publish(Instance& instance) noexcept;
void forget(Instance& instance) noexcept;
// In the child of a fork: the thread and everybody it talked to are the parent's.
void forget_all() noexcept;
[[nodiscard]] bool is_running() noexcept;

}  // namespace userfault::engine::user::agent

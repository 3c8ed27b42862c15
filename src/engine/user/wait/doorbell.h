// SPDX-License-Identifier: Apache-2.0
// The doorbell: how poll(2), epoll(7) and select(2) learn that a descriptor has something to read.
//
// The descriptor that the program holds is the read end of a pipe. A byte lies in the pipe exactly while something can
// be read that no blocked reader has been promised. Rejected: an eventfd (it is read-write, and splices), the messages
// themselves in the pipe (a fault that is resolved before it is read has to disappear).
//
// Threads: any, with signals blocked and under the instance's lock.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// Counts what can be read, for looks without the lock, and makes the byte in the pipe say so.
void update_bell(Instance& instance) noexcept;

// After a fault or an event was queued; without the bell where that is deferred. Whether a reader sleeps and has to be
// woken, which the caller does without the lock: the woken thread wants it first thing, and on the same processor it
// would run into it (28 of 37 us of a fault across threads).
[[nodiscard]] bool announce(Instance& instance, bool defer_bell) noexcept;

}  // namespace userfault::engine::user

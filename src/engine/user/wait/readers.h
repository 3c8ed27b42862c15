// SPDX-License-Identifier: Apache-2.0
// Threads that read an instance's messages.
//
// A blocking read is enter_reader, wait_readable and take_as in turn, leave_reader. While it is there the doorbell need
// not ring for what it will take. It need not leave: a handler of the program may end it by siglongjmp, and its thread
// may be cancelled; a thread that waits for a message to be read then finds out that no reader comes
// (call_for_readers).
//
// Threads: any, also in a signal handler.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// How long a blocking reader may stay away before the bell calls the threads that poll. Longer than a tick of the
// scheduler: with 100 us the processor's timer was programmed anew for every fault, which a virtual machine pays with
// an exit (31 us a fault instead of 14).
inline constexpr timespec kReaderGrace{.tv_sec = 0, .tv_nsec = 10'000'000};

// Takes up to `count` messages: the number, 0 when there are none. A passed descriptor becomes the caller's. Signals
// are blocked.
[[nodiscard]] std::size_t take_messages(Instance& instance, userfault_msg* into, std::size_t count) noexcept;

// One blocking read, on the stack of its thread.
struct BlockingRead {
  std::uint32_t generation = 0;
  std::uint32_t round = 0;  // which counting of readers it is part of
  bool entered = false;
};
void enter_reader(Instance& instance, BlockingRead& read) noexcept;
// Takes messages and leaves, where there are some; signals are blocked. -EBADF: the descriptor was closed.
[[nodiscard]] long take_as(Instance& instance, BlockingRead& read, userfault_msg* into, std::size_t count) noexcept;
// Sleeps, with the caller's signal mask, until something arrived after `seen` was loaded from arrivals; -EINTR after a
// signal.
[[nodiscard]] long wait_readable(Instance& instance, std::uint32_t seen) noexcept;
// Looks for the same for a moment without sleeping, if that is worth it, and says whether it came.
[[nodiscard]] SpinLength worth_spinning_for(Instance& instance) noexcept;
[[nodiscard]] bool spin_until_readable(Instance& instance, std::uint32_t seen, SpinLength length) noexcept;
// Signals are blocked.
void leave_reader(Instance& instance, BlockingRead& read) noexcept;

// No reader came for a message within kReaderGrace. Signals are blocked, the lock is not held.
void call_for_readers(Instance& instance) noexcept;

}  // namespace userfault::engine::user

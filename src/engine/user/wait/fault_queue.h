// SPDX-License-Identifier: Apache-2.0
// A thread that faulted, from when it is queued for the monitor until it goes on.
//
// Threads: any, also in a signal handler, with signals blocked.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

enum class WaitEnd : std::uint8_t {
  kWoken,     // try the access again
  kSignal,    // a handler of the program is to run: try again, which sends the fault again
  kResolved,  // the page was there by the time the thread queued
  kNoSlot,    // more waiters than the pool has
};

// What a page's state has to be for the fault to be worth waiting for.
struct WaitCondition {
  const std::atomic<std::uint8_t>* state = nullptr;
  std::uint8_t mask = 0;
  std::uint8_t value = 0;
};

struct QueuedFault {
  ClaimedWaiter claimed{};  // no waiter: not queued, because of `end`
  WaitEnd end = WaitEnd::kResolved;
};

// Queues the calling thread as a fault of `instance`, unless the page was resolved meanwhile. Under Space::lock shared,
// which keeps the state's memory.
[[nodiscard]] QueuedFault queue_fault(Instance& instance, const FaultReport& report,
                                      const WaitCondition& condition) noexcept;
// Sleeps until an operation wakes the queued fault, or a signal waits that `mask`, the program's, lets through (it is
// noticed 10 ms after the sleep began and then every 20 and 40 ms). No lock may be held.
[[nodiscard]] WaitEnd sleep_on(Instance& instance, const QueuedFault& fault, SignalMask mask) noexcept;

// Wakes the waiters of [start, end): those that were read and those that were not.
void wake_range(Instance& instance, std::uintptr_t start, std::uintptr_t end) noexcept;

// The end of a descriptor: every thread that waits goes on, events count as not read, and the slot's next generation
// begins.
void release_all(Instance& instance) noexcept;

// Prepares the pool; before the first fault. -ENOMEM.
[[nodiscard]] long prepare_waiters() noexcept;
// In the child of a fork, where no thread waits.
void reset_waiters() noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// Where faulting threads wait: slots of a fixed pool, and the lists that they stand in.
//
// A waiter is not on the stack of the handler that waits: a SIGSEGV that another thread sends runs the program's
// handler on top of the wait, which may siglongjmp out of it, and what it leaves behind must stay valid memory.
//
//                 claim_waiter()
//       free ------------------------> claimed      ticket != 0, state kRunning
//        ^                                |
//        |  discard_waiter()              | WaiterList::append(), under Instance::lock
//        +--------------------------------+
//        |                                v
//        |                             queued       in `pending`, later in `delivered`;
//        |                                |         the thread spins (kRunning) or sleeps (kSleeping)
//        |  the signal ended the wait     |
//        +--------------------------------+ wake_all(): out of its list, then kWoken
//        |                                v
//        +-----------------------------  woken      whoever changes the ticket to 0 frees the slot:
//           release_waiter()                        the thread itself, or its next fault that finds it abandoned
//
// A slot is abandoned when its thread left the wait by siglongjmp or ended. The thread's next fault finds it (a frame
// at or below the latest one is gone); those of threads that have ended are looked for when the pool runs out.
//
// Threads: any, also in a signal handler. Lists are guarded by their instance's lock; the pool has no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

struct WaiterList;

struct Waiter {
  enum State : std::uint32_t { kRunning = 0, kWoken = 1, kSleeping = 2 };
  std::atomic<std::uint32_t> state{kRunning};  // a futex
  std::atomic<std::uint64_t> ticket{0};        // of the wait that has the slot; 0: none
  std::atomic<int> tid{0};
  std::uintptr_t frame = 0;    // the stack of the handler that waits
  std::uintptr_t address = 0;  // that the message names
  std::uint64_t flags = 0;     // USERFAULT_PAGEFAULT_FLAG_*
  WaiterList* list = nullptr;  // that it stands in
  Waiter* previous = nullptr;
  Waiter* next = nullptr;  // while the slot is free: the index of the free slot below it, not a pointer
};

struct WaiterList {
  Waiter* head = nullptr;
  Waiter* tail = nullptr;
  std::size_t count = 0;
  // The waiter stands in no list.
  void append(Waiter* waiter) noexcept;
  // The waiter stands in this one.
  void remove(Waiter* waiter) noexcept;
};

// Maps the pool; before the first fault, any number of times. 0 or -ENOMEM.
[[nodiscard]] long map_waiters() noexcept;
// In the child of a fork, where no other thread runs: every slot is free, and the wait of the thread that forked in a
// handler on top of it ends.
void free_all_waiters() noexcept;

// The thread that faults, as the pool tells threads and their waits apart.
struct FaultingThread {
  int tid = 0;
  std::uintptr_t frame = 0;  // of its handler
};

struct ClaimedWaiter {
  Waiter* waiter = nullptr;  // null: the pool has run out
  std::uint64_t ticket = 0;
};

// A slot for one wait. Frees the one that the thread's latest wait left behind, if it did.
[[nodiscard]] ClaimedWaiter claim_waiter(const FaultingThread& thread) noexcept;
// Gives a slot back that stands in no list and that no other thread can know.
void discard_waiter(const ClaimedWaiter& claimed) noexcept;
// Gives a woken slot back, or one that its thread has taken out of its list, unless a later fault of the same thread
// has done so.
void release_waiter(const ClaimedWaiter& claimed) noexcept;

// Under the list's lock: frees the slots that the calling thread left behind in it by siglongjmp.
void reclaim_abandoned(WaiterList& list, const FaultingThread& thread) noexcept;
// Under the list's lock: frees the slots of threads that have ended.
void reclaim_ended(WaiterList& list) noexcept;
// Frees the slots that were woken and that their threads left behind or ended without giving back. It looks at the
// whole pool, so only when that has run out.
void reclaim_woken(const FaultingThread& thread) noexcept;

// Threads to wake once the instance's lock is free: a woken thread wants that lock first thing, and on the same
// processor it would run into it. Slots are never unmapped, and a slot that has found another use meanwhile looks at
// its own state again.
class WakeUps {
 public:
  void add(Waiter* waiter) noexcept;
  void wake() noexcept;

 private:
  static constexpr std::size_t kMost = 32;
  Waiter* waiters_[kMost];
  std::size_t count_ = 0;
};

// Under the list's lock: wakes the waiters of [start, end).
void wake_all(WaiterList& list, std::uintptr_t start, std::uintptr_t end, WakeUps& wake_ups) noexcept;

}  // namespace userfault::engine::user

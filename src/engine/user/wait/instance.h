// SPDX-License-Identifier: Apache-2.0
// One userfaultfd of ours: who waits, what can be read, and the doorbell.
//
// The descriptor that the program holds is the read end of a pipe. A byte lies in the pipe exactly
// while something can be read that no blocked reader has been promised, so poll, epoll and select
// work on it; the messages themselves stay in the process, so that a fault which is resolved before
// it is read disappears, and page faults come before layout events, as in the kernel.
// Rejected: an eventfd (it is read-write, and splices), messages in the pipe (they could not vanish).
//
// A waiter lives in a slot of a fixed pool, not on the stack of the handler that waits: a SIGSEGV that somebody
// sends to the thread runs the program's handler on top of the wait, which may siglongjmp out of it, and what it
// leaves behind must stay valid memory. A slot that was abandoned like this is found by its thread's next fault (a
// frame at or below the latest one is gone) and taken back; those of threads that have ended are looked
// for when the pool runs out.
//
// An instance is a slot, too, and may stand for another descriptor by the time a thread that waited
// for the one before comes to run. So whoever waits remembers the generation.
#pragma once

#include <atomic>

#include "engine/user/rt/lock.h"
#include "engine/user/rt/spin.h"
#include "userfault/abi.h"

namespace userfault::engine::user {

struct Instance;

struct Waiter {
  enum State : std::uint32_t { kRunning = 0, kWoken = 1, kSleeping = 2 };
  std::atomic<std::uint32_t> state{kRunning};  // a futex
  std::atomic<std::uint64_t> ticket{0};        // whose wait it is; another one: it was taken back
  std::atomic<int> tid{0};
  std::uintptr_t frame = 0;    // the stack of the handler that waits
  std::uintptr_t address = 0;  // that the message names
  std::uint64_t flags = 0;     // USERFAULT_PAGEFAULT_FLAG_*
  Waiter* previous = nullptr;
  Waiter* next = nullptr;
  bool delivered = false;
  bool queued = false;
};

struct WaiterList {
  Waiter* head = nullptr;
  Waiter* tail = nullptr;
  std::size_t count = 0;
  void append(Waiter* waiter) noexcept;
  void remove(Waiter* waiter) noexcept;
};

// A layout event; lives on the stack of the thread that raises it, which waits until it was read.
struct Event {
  std::atomic<std::uint32_t> done{0};  // a futex: 1 read, 2 the instance went away
  userfault_msg message{};
  int passed_fd = -1;  // EVENT_FORK: the child's descriptor, until it is read
  Event* next = nullptr;
};

using FaultFunction = int (*)(void* context, int fd, const userfault_msg* fault);

struct Instance {
  Mutex lock;
  std::atomic<bool> used{false};
  std::uint64_t pipe_inode = 0;
  int doorbell = -1;            // the write end
  int listener = -1;            // where other processes find our agent; -1: they cannot
  int open_flags = 0;           // O_CLOEXEC, O_NONBLOCK as it was opened: a child's has the same
  std::atomic<int> reader{-1};  // a number of the read end in this process; -1 while none is known
  bool user_mode_only = false;
  std::atomic<bool> enabled{false};
  std::uint64_t features = 0;
  std::atomic<bool> bell_rung{false};
  // The last message was taken by a blocking read, whose thread will be back for the next one, so the
  // bell is not rung for a fault at once: the waiter does it when nobody came (sleep_on). To poll a
  // descriptor that blocks is an error anyway (real-kernel row 20).
  std::atomic<bool> rings_late{false};
  WaiterList pending;    // not read yet, oldest first
  WaiterList delivered;  // read, not woken yet
  Event* events = nullptr;
  Event* last_event = nullptr;
  std::atomic<std::uint32_t> generation{0};  // of the descriptors that this slot has stood for; under the lock
  std::atomic<std::uint32_t> arrivals{0};    // a futex: counts what became readable
  std::atomic<std::uint32_t> readable{0};    // messages, to look at without the lock
  // Blocked in read(), in the low half; the high half counts how often that was found to be wrong.
  std::atomic<std::uint64_t> readers{0};
  std::atomic<std::uint32_t> sleeping_readers{0};  // at least; one too many costs a system call
  SpinRecord waiting;                              // of threads that fault
  SpinRecord reading;                              // of blocked readers
  std::atomic<int> changing{0};                    // layout changes under way: EAGAIN until they are done
  // Both belong together, which an odd count says they do not just now.
  std::atomic<std::uint32_t> in_thread_changes{0};
  std::atomic<FaultFunction> in_thread{nullptr};
  std::atomic<void*> in_thread_context{nullptr};
};

struct InThread {
  FaultFunction function = nullptr;
  void* context = nullptr;
};
[[nodiscard]] InThread in_thread_of(const Instance& instance) noexcept;
void set_in_thread(Instance& instance, const InThread& handler) noexcept;

// Calls an in-thread handler; outside this folder, because it saves errno. Set with the first one.
using InvokeFunction = int (*)(FaultFunction function, void* context, int fd, const userfault_msg* fault);
inline constinit std::atomic<InvokeFunction> invoke_in_thread{nullptr};

inline constexpr std::size_t kMaxInstances = 1024;
extern Instance instances[kMaxInstances];

enum class WaitEnd : std::uint8_t {
  kWoken,     // try the access again
  kSignal,    // a handler of the program is to run: try again, which sends the fault again
  kResolved,  // the page was there by the time we queued
  kNoSlot,    // more waiters than the pool has
};

struct FaultReport {
  std::uintptr_t address = 0;
  std::uintptr_t exact = 0;
  std::uint64_t flags = 0;
};

// What a page's state has to be for the fault to be worth waiting for.
struct WaitCondition {
  const std::atomic<std::uint8_t>* state = nullptr;
  std::uint8_t mask = 0;
  std::uint8_t value = 0;
};

struct QueuedFault {
  Waiter* waiter = nullptr;  // null: not queued, because of `end`
  std::uint64_t ticket = 0;
  WaitEnd end = WaitEnd::kResolved;
};

// Queues the calling thread as a fault of `instance`, unless the page was resolved meanwhile. Under
// Space::lock shared, which keeps the state's memory.
[[nodiscard]] QueuedFault queue_fault(Instance& instance, const FaultReport& report,
                                      const WaitCondition& condition) noexcept;
// Sleeps until somebody wakes the queued fault, or a signal waits that `mask`, the program's, lets through (it is
// noticed 10 ms after the sleep began and then every 20 and 40 ms). Called and left with signals blocked. No lock may
// be held.
[[nodiscard]] WaitEnd sleep_on(Instance& instance, const QueuedFault& fault, SignalMask mask) noexcept;

// Wakes the waiters of [start, end): those that were read and those that were not.
void wake_range(Instance& instance, std::uintptr_t start, std::uintptr_t end) noexcept;

// A layout change begins, and is over: operations answer EAGAIN in between. begin_change() returns the
// generation that the end belongs to.
[[nodiscard]] std::uint32_t begin_change(Instance& instance) noexcept;
void end_change(Instance& instance, std::uint32_t generation) noexcept;
// Queues an event of a change that began in `generation`, and sleeps until it was read or the instance
// was closed. Signals are blocked.
void raise_and_wait(Instance& instance, std::uint32_t generation, Event& event) noexcept;

// Takes up to `count` messages: the number, 0 when there are none. A passed descriptor becomes the
// caller's.
[[nodiscard]] std::size_t take_messages(Instance& instance, userfault_msg* into, std::size_t count) noexcept;
[[nodiscard]] bool is_readable(Instance& instance) noexcept;
// A blocking read is enter_reader, wait_readable and read_as in turn, leave_reader. While it is there
// the doorbell need not ring for what it will take. It need not leave: a handler of the program may end
// it by siglongjmp, and its thread may be cancelled; whoever waits for a message to be read then finds
// out that nobody comes (call_for_readers).
struct Reader {
  std::uint32_t generation = 0;
  std::uint32_t round = 0;  // which counting of readers it is part of
  bool entered = false;
};
void enter_reader(Instance& instance, Reader& reader) noexcept;
// take_messages() and, where there were some, leave_reader(). -EBADF: the descriptor was closed.
[[nodiscard]] long read_as(Instance& instance, Reader& reader, userfault_msg* into, std::size_t count) noexcept;
// Sleeps, with the caller's signal mask, until something arrived after `seen` was loaded from arrivals;
// -EINTR after a signal. spin_until_readable waits a moment for the same without sleeping, if that is worth
// it, and says whether it came.
[[nodiscard]] SpinLength worth_spinning_for(Instance& instance) noexcept;
[[nodiscard]] bool spin_until_readable(Instance& instance, std::uint32_t seen, SpinLength length) noexcept;
[[nodiscard]] long wait_readable(Instance& instance, std::uint32_t seen) noexcept;
void leave_reader(Instance& instance, Reader& reader) noexcept;
// The program is about to close this number: it must not be read from when it is something else.
void forget_reader(Instance& instance, int fd) noexcept;
// Everybody who waits goes on, events count as not read, and the slot's next generation begins.
void release_all(Instance& instance) noexcept;

// The address that the message of a fault names; WAKE compares with it, too, so that a part of a huge page wakes
// by the exact address.
[[nodiscard]] std::uintptr_t address_of(const Instance& instance, const FaultReport& report) noexcept;
// What one message says, given what the instance's features let it show.
[[nodiscard]] userfault_msg message_of(const Instance& instance, std::uintptr_t address, std::uint64_t flags,
                                       int tid) noexcept;

// Prepares the pool; before the first fault. -ENOMEM.
[[nodiscard]] long prepare_waiters() noexcept;
// In the child of a fork: nobody waits here.
void reset_waiters() noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// One userfaultfd of this process: who waits, what can be read, and how the program hears of it.
//
// Faults and layout events stay in the process until they are read, so that a fault which is resolved before it is
// read disappears, and page faults come before layout events, as in the kernel. What lies where:
//
//   waiter_pool.h    the slots in which faulting threads wait, and the queues of them
//   instance.h       this struct, the table of all, in-thread resolution, what a message says
//   doorbell.h       the pipe that makes poll(2) work
//   readers.h        threads in read(2): taking messages, blocking, and what is done when none of them comes
//   layout_events.h  events of fork, mremap, munmap and madvise: raised, and waited for until they are read
//   fault_queue.h    a faulting thread: queued, asleep, woken; the end of an instance
//
// An instance is a slot, which may stand for another descriptor by the time a thread that waited for the one before
// comes to run. So threads that wait remember the generation.
//
// Threads: any, also in a signal handler; what is not atomic is guarded by `lock`.
#pragma once

#include <atomic>

#include "engine/user/rt/lock.h"
#include "engine/user/rt/seqlock.h"
#include "engine/user/rt/spin.h"
#include "engine/user/wait/waiter_pool.h"
#include "userfault/abi.h"

namespace userfault::engine::user {

// A layout event; lives on the stack of the thread that raises it, which waits until it was read.
struct Event {
  enum State : std::uint32_t { kUnread = 0, kRead = 1, kAbandoned = 2 };  // abandoned: the instance ended
  std::atomic<std::uint32_t> state{kUnread};                              // a futex
  userfault_msg message{};
  int passed_fd = -1;  // EVENT_FORK: the child's descriptor, until it is read
  Event* next = nullptr;
};

using FaultFunction = int (*)(void* context, int fd, const userfault_msg* fault);

// Resolution in the faulting thread; no function: there is none.
struct InThread {
  FaultFunction function = nullptr;
  void* context = nullptr;
};

struct Instance {
  Mutex lock;
  std::atomic<bool> used{false};
  std::uint64_t pipe_inode = 0;
  int doorbell = -1;             // the pipe's write end
  int listener = -1;             // where other processes find the agent; -1: they cannot
  int open_flags = 0;            // O_CLOEXEC, O_NONBLOCK as it was opened: a child's has the same
  std::atomic<int> read_fd{-1};  // a number of the read end in this process; -1 while none is known
  bool user_mode_only = false;
  std::atomic<bool> enabled{false};
  std::uint64_t features = 0;
  std::atomic<bool> bell_rung{false};
  // The last message was taken by a blocking read, whose thread will be back for the next one, so a fault does not ring
  // at once: the faulting thread does it when no reader came for kReaderGrace. A program that polls a blocking
  // descriptor gets an error anyway (real-kernel row 20).
  std::atomic<bool> defer_bell{false};
  WaiterList pending;    // not read yet, oldest first
  WaiterList delivered;  // read, not woken yet
  Event* events = nullptr;
  Event* last_event = nullptr;
  std::atomic<std::uint32_t> generation{0};  // of the descriptors that this slot has stood for; under the lock
  std::atomic<std::uint32_t> arrivals{0};    // a futex: counts what became readable
  std::atomic<std::uint32_t> readable{0};    // messages, for a look without the lock
  // Threads in a blocking read, in the low half; the high half counts how often that was found to be wrong.
  std::atomic<std::uint64_t> blocked_readers{0};
  std::atomic<std::uint32_t> futex_sleepers{0};  // of them, on `arrivals`; one too many costs a system call
  SpinRecord fault_spin;
  SpinRecord reader_spin;
  std::atomic<int> changing{0};  // layout changes under way: operations answer EAGAIN
  SequenceCount in_thread_count;
  SharedWords<InThread> in_thread;  // written under the lock, read without
};

inline constexpr std::size_t kMaxInstances = 1024;
extern Instance instances[kMaxInstances];

// Cheap, for a first question.
[[nodiscard]] inline bool has_in_thread(const Instance& instance) noexcept { return instance.in_thread.word(0) != 0; }
[[nodiscard]] InThread in_thread_of(const Instance& instance) noexcept;
// Signals need not be blocked.
void set_in_thread(Instance& instance, const InThread& handler) noexcept;

// Calls an in-thread handler; outside this folder, because it saves errno. Set with the first one.
using InvokeFunction = int (*)(FaultFunction function, void* context, int fd, const userfault_msg* fault);
inline constinit std::atomic<InvokeFunction> invoke_in_thread{nullptr};

struct FaultReport {
  std::uintptr_t address = 0;  // of the page
  std::uintptr_t exact = 0;
  std::uint64_t flags = 0;  // USERFAULT_PAGEFAULT_FLAG_*
};

// The address that the message of a fault names; WAKE compares with it, too, so that a part of a huge page wakes by
// the exact address.
[[nodiscard]] std::uintptr_t address_of(const Instance& instance, const FaultReport& report) noexcept;
// What one message says, given what the instance's features let it show.
[[nodiscard]] userfault_msg message_of(const Instance& instance, std::uintptr_t address, std::uint64_t flags,
                                       int tid) noexcept;

// The program is about to close this number: it must not be read from when it is another file.
void forget_read_fd(Instance& instance, int fd) noexcept;

// ---- all under the instance's lock ----

[[nodiscard]] inline bool has_messages(const Instance& instance) noexcept {
  return instance.pending.head != nullptr || instance.events != nullptr;
}
[[nodiscard]] inline bool is_generation(const Instance& instance, std::uint32_t generation) noexcept {
  return instance.generation.load(std::memory_order_relaxed) == generation;
}

// ---- in the child of a fork ----

// No thread waits and nothing is to be read: the next generation begins.
void empty_instance(Instance& instance) noexcept;

}  // namespace userfault::engine::user

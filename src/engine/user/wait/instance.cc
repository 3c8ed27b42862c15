// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/instance.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>

#include "engine/user/rt/process_identity.h"
#include "engine/user/signal/kernel_signal.h"

namespace userfault::engine::user {

constinit Instance instances[kMaxInstances];

namespace {

// ---- the pool ----

constexpr std::size_t kMaxWaiters = std::size_t{1} << 16;
constinit Waiter* waiters = nullptr;
constinit std::atomic<std::uint32_t> waiters_used{0};
// A stack of free slots: index + 1 in the low half, a count that defeats ABA in the high half.
constinit std::atomic<std::uint64_t> waiters_free{0};
constinit std::atomic<std::uint64_t> tickets{0};

Waiter* pop_waiter() noexcept {
  std::uint64_t head = waiters_free.load(std::memory_order_acquire);
  while ((head & 0xffffffff) != 0) {
    Waiter* top = &waiters[(head & 0xffffffff) - 1];
    const auto next = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(top->next));
    if (waiters_free.compare_exchange_weak(head, (((head >> 32) + 1) << 32) | next, std::memory_order_acq_rel))
      return top;
  }
  const std::uint32_t index = waiters_used.fetch_add(1);
  if (index < kMaxWaiters) return &waiters[index];
  waiters_used.fetch_sub(1);
  return nullptr;
}

void free_waiter(Waiter* waiter) noexcept {
  const auto index = static_cast<std::uint64_t>(waiter - waiters) + 1;
  std::uint64_t head = waiters_free.load(std::memory_order_relaxed);
  do {
    // While a slot is free its `next` holds the index of the slot below, not a pointer.
    waiter->next = reinterpret_cast<Waiter*>(static_cast<std::uintptr_t>(head & 0xffffffff));
  } while (!waiters_free.compare_exchange_weak(head, (((head >> 32) + 1) << 32) | index, std::memory_order_acq_rel));
}

// A slot's number, where it may be looked for by the thread that waits in it: none of its waits but the
// last is interesting, and that two threads share an entry costs a slot only if both leave one behind.
constexpr std::size_t kLatest = 1024;
constinit std::atomic<std::uint32_t> latest[kLatest];

std::atomic<std::uint32_t>& latest_of(int tid) noexcept { return latest[static_cast<unsigned>(tid) % kLatest]; }

// A handler's frame is gone when a later one of its thread lies at or above it. Frames further than a
// stack apart are on different stacks, of which nothing is known.
bool was_left(const Waiter& waiter, int tid, std::uintptr_t frame) noexcept {
  constexpr std::uintptr_t kOneStack = std::uintptr_t{64} << 20;
  return waiter.tid.load(std::memory_order_relaxed) == tid && waiter.frame <= frame && frame - waiter.frame < kOneStack;
}

// Frees a slot that its thread left after it was woken. Whoever changes the ticket has it.
void take_back(Waiter& waiter) noexcept {
  std::uint64_t ticket = waiter.ticket.load();
  if (ticket != 0 && waiter.state.load() == Waiter::kWoken && waiter.ticket.compare_exchange_strong(ticket, 0))
    free_waiter(&waiter);
}

void take_back_latest(int tid, std::uintptr_t frame) noexcept {
  const std::uint32_t number = latest_of(tid).load(std::memory_order_relaxed);
  if (number != 0 && was_left(waiters[number - 1], tid, frame)) take_back(waiters[number - 1]);
}

bool is_no_thread(int tid) noexcept { return raw_syscall(SYS_tkill, tid, 0) == -ESRCH; }

// ---- the doorbell ----

// The last read end can be closed while a thread faults. The SIGPIPE that a write then raises is
// ours to take back: it is directed at this thread, which has all such signals blocked here.
bool ring(int doorbell) noexcept {
  const char byte = 1;
  const long wrote = sys::write(doorbell, &byte, 1);
  if (wrote == -EPIPE) {
    const SignalMask broken_pipe = bit_of(SIGPIPE);
    const timespec now{};
    raw_syscall(SYS_rt_sigtimedwait, as_long(&broken_pipe), 0, as_long(&now), sizeof broken_pipe);
  }
  return wrote == 1;
}

bool leads_to(int fd, std::uint64_t inode) noexcept {
  struct stat status;
  return fd >= 0 && raw_syscall(SYS_newfstatat, fd, as_long(""), as_long(&status), 0x1000 /* AT_EMPTY_PATH */) == 0 &&
         status.st_ino == inode;
}

// Takes the byte out of the pipe. The read end whose number we know may be closed and the number
// something else's by now, and when only other processes have one there is none here at all; then
// the pipe is opened anew for a moment, which the write end allows (proc(5), /proc/pid/fd).
void drain(Instance& instance) noexcept {
  int reader = instance.reader;
  const bool known = leads_to(reader, instance.pipe_inode);
  if (!known) {
    char path[32] = "/proc/self/fd/";
    char* at = path + 14;
    int divisor = 1;
    while (instance.doorbell / divisor >= 10) divisor *= 10;
    for (; divisor > 0; divisor /= 10) *at++ = static_cast<char>('0' + instance.doorbell / divisor % 10);
    reader = static_cast<int>(sys::openat(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (reader < 0) return;
  }
  // Nothing keeps the program from reading the byte with a read(2) of its own, so this must not
  // block whatever the descriptor's flags are.
  char byte;
  const iovec target{&byte, 1};
  constexpr int kNoWait = 8;  // RWF_NOWAIT
  const long got = raw_syscall(SYS_preadv2, reader, as_long(&target), 1, -1, -1, kNoWait);
  if (got == -EOPNOTSUPP || got == -ENOSYS) sys::read(reader, &byte, 1);
  if (!known) sys::close(reader);
}

std::uint32_t count_of(std::uint64_t readers) noexcept { return static_cast<std::uint32_t>(readers); }
std::uint32_t round_of(std::uint64_t readers) noexcept { return static_cast<std::uint32_t>(readers >> 32); }

// Under the instance's lock.
std::uint32_t note_readable(Instance& instance) noexcept {
  const auto readable = static_cast<std::uint32_t>(instance.pending.count + (instance.events != nullptr ? 1 : 0));
  // Release pairs with the acquire of a reader that looks without the lock.
  instance.readable.store(readable, std::memory_order_release);
  return readable;
}

// Under the instance's lock, signals blocked: makes the byte in the pipe say whether something can be
// read that no blocked reader is about to take.
void set_doorbell(Instance& instance) noexcept {
  const std::uint32_t readable = note_readable(instance);
  const bool wanted = readable > count_of(instance.readers.load(std::memory_order_relaxed));
  if (!instance.used.load()) return;
  if (wanted == instance.bell_rung.load(std::memory_order_relaxed) || instance.doorbell < 0) return;
  if (wanted) {
    if (ring(instance.doorbell)) instance.bell_rung.store(true, std::memory_order_relaxed);
    return;
  }
  drain(instance);
  instance.bell_rung.store(false, std::memory_order_relaxed);
}

// Under the instance's lock; returns whether a reader sleeps and has to be woken, which the caller
// does without the lock: the woken thread wants it first thing, and on the same processor it would
// run into it before we have let go (28 of 37 us of a fault across threads).
[[nodiscard]] bool announce(Instance& instance, bool rings_late) noexcept {
  if (rings_late) note_readable(instance);
  else set_doorbell(instance);
  instance.arrivals.fetch_add(1);
  return instance.sleeping_readers.load() != 0;
}

// Nobody came for a message in the time that a monitor needs between two blocking reads. Readers that
// are counted may have left without a word, so they count no more, and the bell rings; those that were
// woken for it may have left as well, so all of them are.
void call_for_readers(Instance& instance) noexcept {
  {
    Locked locked(instance.lock);
    const std::uint64_t readers = instance.readers.load(std::memory_order_relaxed);
    if (instance.pending.count == 0 && instance.events == nullptr) return;
    // A reader that enters now is counted in one round or in the other.
    instance.readers.store(std::uint64_t{round_of(readers) + 1} << 32, std::memory_order_relaxed);
    set_doorbell(instance);
  }
  sys::futex_wake(&instance.arrivals, INT32_MAX);
}

// Waiters to wake once the lock is free. Their slots are never unmapped, and a slot that has found
// another use meanwhile looks at its own state again.
class WakeUps {
 public:
  void add(Waiter* waiter) noexcept {
    if (count_ == kMost) wake();
    waiters_[count_++] = waiter;
  }
  void wake() noexcept {
    for (std::size_t i = 0; i < count_; ++i) sys::futex_wake(&waiters_[i]->state, 1);
    count_ = 0;
  }

 private:
  static constexpr std::size_t kMost = 32;
  Waiter* waiters_[kMost];
  std::size_t count_ = 0;
};

void unqueue(Instance& instance, Waiter* waiter) noexcept {
  if (!waiter->queued) return;
  (waiter->delivered ? instance.delivered : instance.pending).remove(waiter);
  waiter->queued = false;
}

// The slots that a siglongjmp of this thread left in a queue.
void take_back_abandoned(WaiterList& list, Instance& instance, int tid, std::uintptr_t frame) noexcept {
  for (Waiter* at = list.head; at != nullptr;) {
    Waiter* next = at->next;
    if (was_left(*at, tid, frame)) {
      unqueue(instance, at);
      at->ticket.store(0);
      free_waiter(at);
    }
    at = next;
  }
}

void wake_list(Instance& instance, WaiterList& list, std::uintptr_t start, std::uintptr_t end,
               WakeUps& wake_ups) noexcept {
  for (Waiter* at = list.head; at != nullptr;) {
    Waiter* next = at->next;
    if (at->address - start < end - start) {
      unqueue(instance, at);
      if (at->state.exchange(Waiter::kWoken) == Waiter::kSleeping) wake_ups.add(at);
    }
    at = next;
  }
}

// The slots of threads that ended while they waited, which nobody looks for before the pool runs out.
void take_back_of_ended(WaiterList& list, Instance& instance) noexcept {
  for (Waiter* at = list.head; at != nullptr;) {
    Waiter* next = at->next;
    if (is_no_thread(at->tid.load(std::memory_order_relaxed))) {
      unqueue(instance, at);
      at->ticket.store(0);
      free_waiter(at);
    }
    at = next;
  }
}

// No lock is held.
void sweep_waiters(int tid, std::uintptr_t frame) noexcept {
  for (Instance& instance : instances) {
    if (!instance.used.load()) continue;
    Locked locked(instance.lock);
    take_back_of_ended(instance.pending, instance);
    take_back_of_ended(instance.delivered, instance);
  }
  for (std::size_t i = 0; i < kMaxWaiters; ++i) {
    Waiter& waiter = waiters[i];
    if (waiter.ticket.load() == 0 || waiter.state.load() != Waiter::kWoken) continue;
    if (was_left(waiter, tid, frame) || is_no_thread(waiter.tid.load(std::memory_order_relaxed))) take_back(waiter);
  }
}

Waiter* allocate_waiter(int tid, std::uintptr_t frame) noexcept {
  take_back_latest(tid, frame);
  Waiter* waiter = pop_waiter();
  if (waiter == nullptr) {
    sweep_waiters(tid, frame);
    waiter = pop_waiter();
  }
  return waiter;
}

// How long a sleep lasts at the most before the thread looks whether a signal has come for it.
constexpr long kLongest_ns = 40'000'000;
// How long a blocking reader may stay away before the bell calls whoever polls. Longer than a tick of
// the scheduler: with 100 us the processor's timer was programmed anew for every fault, which a
// virtual machine pays with an exit (31 us a fault instead of 14).
constexpr timespec kSoon{.tv_sec = 0, .tv_nsec = 10'000'000};

}  // namespace

void WaiterList::append(Waiter* waiter) noexcept {
  waiter->previous = tail;
  waiter->next = nullptr;
  (tail != nullptr ? tail->next : head) = waiter;
  tail = waiter;
  ++count;
}

void WaiterList::remove(Waiter* waiter) noexcept {
  (waiter->previous != nullptr ? waiter->previous->next : head) = waiter->next;
  (waiter->next != nullptr ? waiter->next->previous : tail) = waiter->previous;
  waiter->previous = waiter->next = nullptr;
  --count;
}

std::uintptr_t address_of(const Instance& instance, const FaultReport& report) noexcept {
  return (instance.features & USERFAULT_FEATURE_EXACT_ADDRESS) != 0 ? report.exact : report.address;
}

userfault_msg message_of(const Instance& instance, std::uintptr_t address, std::uint64_t flags, int tid) noexcept {
  userfault_msg message{};
  message.event = USERFAULT_EVENT_PAGEFAULT;
  message.arg.pagefault.flags = flags;
  message.arg.pagefault.address = address;
  if ((instance.features & USERFAULT_FEATURE_THREAD_ID) != 0)
    message.arg.pagefault.feat.ptid = static_cast<std::uint32_t>(tid);
  return message;
}

QueuedFault queue_fault(Instance& instance, const FaultReport& report, const WaitCondition& condition) noexcept {
  const int tid = sys::gettid();
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  Waiter* waiter = allocate_waiter(tid, frame);
  if (waiter == nullptr) return {.end = WaitEnd::kNoSlot};
  const std::uint64_t ticket = tickets.fetch_add(1) + 1;
  waiter->state.store(Waiter::kRunning, std::memory_order_relaxed);
  waiter->tid.store(tid, std::memory_order_relaxed);
  waiter->frame = frame;
  waiter->ticket.store(ticket);
  latest_of(tid).store(static_cast<std::uint32_t>(waiter - waiters) + 1, std::memory_order_relaxed);
  waiter->address = address_of(instance, report);
  waiter->flags = report.flags;
  waiter->delivered = false;

  instance.lock.lock_as(tid);
  take_back_abandoned(instance.pending, instance, tid, frame);
  take_back_abandoned(instance.delivered, instance, tid, frame);
  // Whoever resolves the page changes its state first and takes this lock to wake afterwards, so
  // asking under the lock closes the gap between the two (the kernel's userfaultfd_must_wait).
  if (!instance.used.load() || (condition.state->load(std::memory_order_acquire) & condition.mask) != condition.value) {
    instance.lock.unlock();
    waiter->ticket.store(0);
    free_waiter(waiter);
    return {.end = WaitEnd::kResolved};
  }
  instance.pending.append(waiter);
  waiter->queued = true;
  const bool reader_sleeps = announce(instance, instance.rings_late.load(std::memory_order_relaxed));
  instance.lock.unlock();
  if (reader_sleeps) sys::futex_wake(&instance.arrivals, 1);
  return {.waiter = waiter, .ticket = ticket};
}

namespace {

// Nothing would run, and the kernel would drop it at once where it is not blocked.
bool is_ignored(int signal) noexcept {
  KernelSigaction action;
  if (raw_sigaction(signal, nullptr, &action) < 0) return false;
  constexpr SignalMask kDefaultIgnores = bit_of(SIGCHLD) | bit_of(SIGCONT) | bit_of(SIGURG) | bit_of(SIGWINCH);
  return is_ignore(action) || (is_default(action) && (bit_of(signal) & kDefaultIgnores) != 0);
}

// A signal that waits for the mask to be lifted. The fault then ends: the signal is delivered
// when our handler returns, at the faulting instruction, which then faults and is sent again, as in
// the kernel (real-kernel row 11).
bool signal_is_pending(SignalMask mask) noexcept {
  SignalMask pending = 0;
  raw_syscall(SYS_rt_sigpending, as_long(&pending), sizeof pending);
  pending &= ~mask;
  for (int signal = 1; signal <= kSignalCount; ++signal)
    if ((pending & bit_of(signal)) != 0 && !is_ignored(signal)) return true;
  return false;
}

// Signals stay blocked, and whether one came is asked between two sleeps: futex(2) cannot lift a mask and sleep in
// one step, and a handler that ran between the two would go unnoticed and the fault not be sent again.
bool sleep_for(Waiter& waiter, const timespec& time) noexcept {
  while (sys::futex_wait(&waiter.state, Waiter::kSleeping, &time) != -ETIMEDOUT)
    if (waiter.state.load(std::memory_order_acquire) == Waiter::kWoken) return true;
  return waiter.state.load(std::memory_order_acquire) == Waiter::kWoken;
}

WaitEnd sleep_until_woken(Instance& instance, const QueuedFault& fault, SignalMask mask) noexcept {
  Waiter& waiter = *fault.waiter;
  const SpinLength length = instance.waiting.worth();
  if (length == SpinLength::kProbe) instance.reading.encourage();
  if (spin_while(waiter.state, Waiter::kRunning, length, instance.waiting)) return WaitEnd::kWoken;
  std::uint32_t running = Waiter::kRunning;
  if (!waiter.state.compare_exchange_strong(running, Waiter::kSleeping)) return WaitEnd::kWoken;
  timespec time = kSoon;
  if (sleep_for(waiter, time)) return WaitEnd::kWoken;
  call_for_readers(instance);
  while (!signal_is_pending(mask)) {
    if (time.tv_nsec < kLongest_ns) time.tv_nsec *= 2;
    if (sleep_for(waiter, time)) return WaitEnd::kWoken;
  }
  return WaitEnd::kSignal;
}

}  // namespace

// Whoever woke us has taken us out of the queue, and the slot is ours alone to give back, unless a later
// fault of this thread has done so. Else it is still in a queue, or on its way out.
WaitEnd sleep_on(Instance& instance, const QueuedFault& fault, SignalMask mask) noexcept {
  const WaitEnd end = sleep_until_woken(instance, fault, mask);
  std::uint64_t ticket = fault.ticket;
  if (end == WaitEnd::kWoken) {
    if (fault.waiter->ticket.compare_exchange_strong(ticket, 0)) free_waiter(fault.waiter);
    return end;
  }
  Locked locked(instance.lock);
  if (fault.waiter->ticket.load() != ticket) return WaitEnd::kSignal;
  unqueue(instance, fault.waiter);
  set_doorbell(instance);
  if (fault.waiter->ticket.compare_exchange_strong(ticket, 0)) free_waiter(fault.waiter);
  return end;
}

void wake_range(Instance& instance, std::uintptr_t start, std::uintptr_t end) noexcept {
  WakeUps wake_ups;
  instance.lock.lock();
  wake_list(instance, instance.pending, start, end, wake_ups);
  wake_list(instance, instance.delivered, start, end, wake_ups);
  set_doorbell(instance);
  instance.lock.unlock();
  wake_ups.wake();
}

// Its writer has signals blocked and does not fault, so nobody waits here for the thread he interrupted.
InThread in_thread_of(const Instance& instance) noexcept {
  for (;;) {
    const std::uint32_t before = instance.in_thread_changes.load();
    const InThread handler{instance.in_thread.load(), instance.in_thread_context.load()};
    if (before % 2 == 0 && instance.in_thread_changes.load() == before) return handler;
    pause_cpu();
  }
}

void set_in_thread(Instance& instance, const InThread& handler) noexcept {
  SignalsBlocked blocked;
  Locked locked(instance.lock);
  instance.in_thread_changes.fetch_add(1);
  instance.in_thread.store(handler.function);
  instance.in_thread_context.store(handler.context);
  instance.in_thread_changes.fetch_add(1);
}

void forget_reader(Instance& instance, int fd) noexcept {
  Locked locked(instance.lock);
  if (instance.reader == fd) instance.reader = -1;
}

std::uint32_t begin_change(Instance& instance) noexcept {
  Locked locked(instance.lock);
  instance.changing.fetch_add(1);
  return instance.generation.load(std::memory_order_relaxed);
}

void end_change(Instance& instance, std::uint32_t generation) noexcept {
  Locked locked(instance.lock);
  if (instance.generation.load(std::memory_order_relaxed) == generation) instance.changing.fetch_sub(1);
}

void raise_and_wait(Instance& instance, std::uint32_t generation, Event& event) noexcept {
  {
    Locked locked(instance.lock);
    if (!instance.used.load() || instance.generation.load(std::memory_order_relaxed) != generation) {
      if (event.passed_fd >= 0) sys::close(event.passed_fd);
      return;
    }
    event.next = nullptr;
    (instance.last_event != nullptr ? instance.last_event->next : instance.events) = &event;
    instance.last_event = &event;
    if (announce(instance, false)) sys::futex_wake(&instance.arrivals, 1);
  }
  const timespec* patience = &kSoon;
  while (event.done.load(std::memory_order_acquire) == 0) {
    if (sys::futex_wait(&event.done, 0, patience) != -ETIMEDOUT) continue;
    patience = nullptr;
    call_for_readers(instance);
  }
}

namespace {

// Under the lock.
std::size_t take_locked(Instance& instance, userfault_msg* into, std::size_t count) noexcept {
  std::size_t taken = 0;
  while (taken < count && instance.pending.head != nullptr) {
    Waiter* waiter = instance.pending.head;
    instance.pending.remove(waiter);
    waiter->delivered = true;
    instance.delivered.append(waiter);
    into[taken++] = message_of(instance, waiter->address, waiter->flags, waiter->tid.load());
  }
  Event* const first = taken < count ? instance.events : nullptr;
  Event* last = nullptr;
  for (; taken < count && instance.events != nullptr; instance.events = last->next) {
    last = instance.events;
    if (last->passed_fd >= 0) last->message.arg.fork.ufd = static_cast<std::uint32_t>(last->passed_fd);
    into[taken++] = last->message;
  }
  if (instance.events == nullptr) instance.last_event = nullptr;
  set_doorbell(instance);
  // Only now: whoever raised an event must not find the descriptor readable because of it.
  for (Event* event = first; event != nullptr;) {
    Event* const next = event == last ? nullptr : event->next;
    // After this the event's stack is its thread's again.
    event->done.store(1, std::memory_order_release);
    sys::futex_wake(&event->done, 1);
    event = next;
  }
  return taken;
}

// Under the lock; false when there is nothing to leave. One of an earlier round is not counted any more.
bool leave_locked(Instance& instance, Reader& reader) noexcept {
  if (!reader.entered || instance.generation.load(std::memory_order_relaxed) != reader.generation) return false;
  reader.entered = false;
  std::uint64_t readers = instance.readers.load(std::memory_order_relaxed);
  while (round_of(readers) == reader.round && count_of(readers) != 0 &&
         !instance.readers.compare_exchange_weak(readers, readers - 1, std::memory_order_relaxed)) {
  }
  return true;
}

}  // namespace

std::size_t take_messages(Instance& instance, userfault_msg* into, std::size_t count) noexcept {
  Locked locked(instance.lock);
  return take_locked(instance, into, count);
}

bool is_readable(Instance& instance) noexcept {
  Locked locked(instance.lock);
  return instance.pending.head != nullptr || instance.events != nullptr;
}

void enter_reader(Instance& instance, Reader& reader) noexcept {
  reader.round = round_of(instance.readers.fetch_add(1));
  reader.entered = true;
}

// It leaves first, so that the bell is looked at once, as it is to be without this reader.
long read_as(Instance& instance, Reader& reader, userfault_msg* into, std::size_t count) noexcept {
  Locked locked(instance.lock);
  if (instance.generation.load(std::memory_order_relaxed) != reader.generation) return -EBADF;
  if (instance.pending.head == nullptr && instance.events == nullptr) return 0;
  static_cast<void>(leave_locked(instance, reader));
  return static_cast<long>(take_locked(instance, into, count));
}

SpinLength worth_spinning_for(Instance& instance) noexcept {
  // Probing is for those who fault: a monitor may have nothing to do for hours.
  const SpinLength length = instance.reading.worth();
  return length == SpinLength::kProbe ? SpinLength::kShort : length;
}

bool spin_until_readable(Instance& instance, std::uint32_t seen, SpinLength length) noexcept {
  return spin_while(instance.arrivals, seen, length, instance.reading);
}

long wait_readable(Instance& instance, std::uint32_t seen) noexcept {
  instance.sleeping_readers.fetch_add(1);
  // Without a timeout: after a handler with SA_RESTART the kernel goes on waiting, as read(2) does.
  const long result = sys::futex_wait(&instance.arrivals, seen, nullptr);
  instance.sleeping_readers.fetch_sub(1);
  return result == -EINTR ? -EINTR : 0;
}

void leave_reader(Instance& instance, Reader& reader) noexcept {
  Locked locked(instance.lock);
  if (leave_locked(instance, reader)) set_doorbell(instance);
}

void release_all(Instance& instance) noexcept {
  WakeUps wake_ups;
  instance.lock.lock();
  wake_list(instance, instance.pending, 0, UINTPTR_MAX, wake_ups);
  wake_list(instance, instance.delivered, 0, UINTPTR_MAX, wake_ups);
  for (Event* event = instance.events; event != nullptr;) {
    Event* next = event->next;
    if (event->passed_fd >= 0) sys::close(event->passed_fd);
    event->done.store(2, std::memory_order_release);
    sys::futex_wake(&event->done, 1);
    event = next;
  }
  instance.events = instance.last_event = nullptr;
  instance.readable.store(0, std::memory_order_relaxed);
  instance.readers.store(0, std::memory_order_relaxed);
  instance.changing.store(0);
  instance.generation.fetch_add(1);
  instance.lock.unlock();
  wake_ups.wake();
  instance.arrivals.fetch_add(1);
  sys::futex_wake(&instance.arrivals, INT32_MAX);
}

long prepare_waiters() noexcept {
  if (waiters != nullptr) return 0;
  const long at = sys::mmap(0, kMaxWaiters * sizeof(Waiter), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at < 0 && at > -4096) return at;
  waiters = reinterpret_cast<Waiter*>(at);
  prepare_spinning();
  mark_own_process();
  return 0;
}

void reset_waiters() noexcept {
  const std::uint32_t used = waiters_used.load() < kMaxWaiters ? waiters_used.load() : kMaxWaiters;
  for (std::uint32_t i = 0; i < used; ++i) {
    // The thread that forks may do so in a handler on top of its own wait, to which it returns: whatever the
    // wait was about to do, it must not sleep for what nobody will tell it here.
    waiters[i].state.store(Waiter::kWoken);
    waiters[i].ticket.store(0);
    waiters[i].queued = false;
  }
  for (auto& number : latest) number.store(0, std::memory_order_relaxed);
  waiters_used.store(0);
  waiters_free.store(0);
  reset_spinning();
  mark_own_process();
}

}  // namespace userfault::engine::user

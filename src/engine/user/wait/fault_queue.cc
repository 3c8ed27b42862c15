// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/fault_queue.h"

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/signal/kernel_signal.h"
#include "engine/user/wait/doorbell.h"
#include "engine/user/wait/layout_events.h"
#include "engine/user/wait/readers.h"

namespace userfault::engine::user {
namespace {

// How long a sleep lasts at the most before the thread looks whether a signal has come for it.
constexpr long kSignalPollMax_ns = 40'000'000;

// The pool has run out: looks everywhere for slots that were left behind. No lock is held.
ClaimedWaiter claim_reclaimed(const FaultingThread& thread) noexcept {
  for (Instance& instance : instances) {
    if (!instance.used.load()) continue;
    Locked locked(instance.lock);
    reclaim_ended(instance.pending);
    reclaim_ended(instance.delivered);
  }
  reclaim_woken(thread);
  return claim_waiter(thread);
}

bool holds(const WaitCondition& condition) noexcept {
  return (condition.state->load(std::memory_order_acquire) & condition.mask) == condition.value;
}

// Whether the program's handling of the signal is to drop it, which the kernel does at once where it is not blocked.
bool is_ignored(int signal) noexcept {
  KernelSigaction action;
  if (raw_sigaction(signal, nullptr, &action) < 0) return false;
  constexpr SignalMask kDefaultIgnores = bit_of(SIGCHLD) | bit_of(SIGCONT) | bit_of(SIGURG) | bit_of(SIGWINCH);
  return is_ignore(action) || (is_default(action) && (bit_of(signal) & kDefaultIgnores) != 0);
}

// A signal that waits for the mask to be lifted. The fault then ends: the signal is delivered when the fault handler
// returns, at the faulting instruction, which then faults and is sent again, as in the kernel (real-kernel row 11).
bool signal_is_pending(SignalMask mask) noexcept {
  SignalMask pending = 0;
  raw_syscall(SYS_rt_sigpending, as_long(&pending), sizeof pending);
  pending &= ~mask;
  for (int signal = 1; signal <= kSignalCount; ++signal)
    if ((pending & bit_of(signal)) != 0 && !is_ignored(signal)) return true;
  return false;
}

bool is_woken(const Waiter& waiter) noexcept { return waiter.state.load(std::memory_order_acquire) == Waiter::kWoken; }

// Signals stay blocked, and whether one came is asked between two sleeps: futex(2) cannot lift a mask and sleep in one
// step, and a handler that ran between the two would go unnoticed and the fault not be sent again.
bool sleep_for(Waiter& waiter, const timespec& time) noexcept {
  while (sys::futex_wait(&waiter.state, Waiter::kSleeping, &time) != -ETIMEDOUT)
    if (is_woken(waiter)) return true;
  return is_woken(waiter);
}

WaitEnd sleep_until_woken(Instance& instance, Waiter& waiter, SignalMask mask) noexcept {
  const SpinLength length = instance.fault_spin.worth();
  if (length == SpinLength::kProbe) instance.reader_spin.encourage();
  if (spin_while(waiter.state, Waiter::kRunning, length, instance.fault_spin)) return WaitEnd::kWoken;
  std::uint32_t running = Waiter::kRunning;
  if (!waiter.state.compare_exchange_strong(running, Waiter::kSleeping)) return WaitEnd::kWoken;
  timespec time = kReaderGrace;
  if (sleep_for(waiter, time)) return WaitEnd::kWoken;
  call_for_readers(instance);
  while (!signal_is_pending(mask)) {
    if (time.tv_nsec < kSignalPollMax_ns) time.tv_nsec *= 2;
    if (sleep_for(waiter, time)) return WaitEnd::kWoken;
  }
  return WaitEnd::kSignal;
}

}  // namespace

QueuedFault queue_fault(Instance& instance, const FaultReport& report, const WaitCondition& condition) noexcept {
  const FaultingThread thread{sys::gettid(), reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0))};
  ClaimedWaiter claimed = claim_waiter(thread);
  if (claimed.waiter == nullptr) claimed = claim_reclaimed(thread);
  if (claimed.waiter == nullptr) return {.end = WaitEnd::kNoSlot};
  claimed.waiter->address = address_of(instance, report);
  claimed.waiter->flags = report.flags;

  instance.lock.lock_as(thread.tid);
  reclaim_abandoned(instance.pending, thread);
  reclaim_abandoned(instance.delivered, thread);
  // An operation that resolves the page changes its state first and takes this lock to wake afterwards, so asking under
  // the lock closes the gap between the two (the kernel's userfaultfd_must_wait).
  if (!instance.used.load() || !holds(condition)) {
    instance.lock.unlock();
    discard_waiter(claimed);
    return {.end = WaitEnd::kResolved};
  }
  instance.pending.append(claimed.waiter);
  const bool reader_sleeps = announce(instance, instance.defer_bell.load(std::memory_order_relaxed));
  instance.lock.unlock();
  if (reader_sleeps) sys::futex_wake(&instance.arrivals, 1);
  return {.claimed = claimed};
}

// A woken waiter is out of the queue, and the slot is its thread's alone to give back, unless a later fault of the
// thread has done so. Else it is still in a queue, or on its way out.
WaitEnd sleep_on(Instance& instance, const QueuedFault& fault, SignalMask mask) noexcept {
  USERFAULT_INVARIANT(fault.claimed.waiter != nullptr, "a thread waits for a fault that was not queued");
  Waiter& waiter = *fault.claimed.waiter;
  const WaitEnd end = sleep_until_woken(instance, waiter, mask);
  if (end == WaitEnd::kSignal) {
    Locked locked(instance.lock);
    if (waiter.ticket.load() != fault.claimed.ticket) return end;
    if (waiter.list != nullptr) waiter.list->remove(&waiter);
    update_bell(instance);
    release_waiter(fault.claimed);
    return end;
  }
  release_waiter(fault.claimed);
  return end;
}

void wake_range(Instance& instance, std::uintptr_t start, std::uintptr_t end) noexcept {
  USERFAULT_INVARIANT(start <= end, "a range to wake ends before it starts");
  WakeUps wake_ups;
  {
    Locked locked(instance.lock);
    wake_all(instance.pending, start, end, wake_ups);
    wake_all(instance.delivered, start, end, wake_ups);
    update_bell(instance);
  }
  wake_ups.wake();
}

void release_all(Instance& instance) noexcept {
  USERFAULT_INVARIANT(!instance.used.load(), "the threads of a descriptor were released that is in use");
  WakeUps wake_ups;
  {
    Locked locked(instance.lock);
    wake_all(instance.pending, 0, UINTPTR_MAX, wake_ups);
    wake_all(instance.delivered, 0, UINTPTR_MAX, wake_ups);
    abandon_events(instance);
    instance.readable.store(0, std::memory_order_relaxed);
    instance.blocked_readers.store(0, std::memory_order_relaxed);
    instance.changing.store(0);
    instance.generation.fetch_add(1);
  }
  wake_ups.wake();
  instance.arrivals.fetch_add(1);
  sys::futex_wake(&instance.arrivals, INT32_MAX);
}

long prepare_waiters() noexcept {
  if (const long result = map_waiters(); result < 0) return result;
  prepare_spinning();
  mark_own_process();
  return 0;
}

void reset_waiters() noexcept {
  free_all_waiters();
  reset_spinning();
  mark_own_process();
}

}  // namespace userfault::engine::user

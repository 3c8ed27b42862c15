// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/readers.h"

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/wait/doorbell.h"

namespace userfault::engine::user {
namespace {

std::uint32_t count_of(std::uint64_t readers) noexcept { return static_cast<std::uint32_t>(readers); }
std::uint32_t round_of(std::uint64_t readers) noexcept { return static_cast<std::uint32_t>(readers >> 32); }

std::size_t take_faults(Instance& instance, userfault_msg* into, std::size_t count) noexcept {
  std::size_t taken = 0;
  while (taken < count && instance.pending.head != nullptr) {
    Waiter* waiter = instance.pending.head;
    instance.pending.remove(waiter);
    instance.delivered.append(waiter);
    into[taken++] = message_of(instance, waiter->address, waiter->flags, waiter->tid.load());
  }
  return taken;
}

// Takes events out of the queue; `last` is the last one taken, null for none.
std::size_t take_events(Instance& instance, userfault_msg* into, std::size_t count, Event** last) noexcept {
  std::size_t taken = 0;
  for (; taken < count && instance.events != nullptr; instance.events = (*last)->next) {
    *last = instance.events;
    Event& event = **last;
    USERFAULT_INVARIANT(event.state.load(std::memory_order_relaxed) == Event::kUnread, "an event was read twice");
    if (event.passed_fd >= 0) event.message.arg.fork.ufd = static_cast<std::uint32_t>(event.passed_fd);
    into[taken++] = event.message;
  }
  if (instance.events == nullptr) instance.last_event = nullptr;
  return taken;
}

// From `first` to `last`. Once it has its state, the event's stack is its thread's again.
void end_events(Event* first, const Event* last) noexcept {
  for (Event* event = last != nullptr ? first : nullptr; event != nullptr;) {
    Event* const next = event == last ? nullptr : event->next;
    event->state.store(Event::kRead, std::memory_order_release);
    sys::futex_wake(&event->state, 1);
    event = next;
  }
}

// Under the lock.
std::size_t take_locked(Instance& instance, userfault_msg* into, std::size_t count) noexcept {
  std::size_t taken = take_faults(instance, into, count);
  Event* const first = instance.events;
  Event* last = nullptr;
  taken += take_events(instance, into + taken, count - taken, &last);
  USERFAULT_INVARIANT(taken <= count, "more messages were taken than there is room for");
  update_bell(instance);
  // Only now: the thread that raised an event must not find the descriptor readable because of it.
  end_events(first, last);
  return taken;
}

// Under the lock; false when there is nothing to leave. A reader of an earlier round is not counted any more.
bool leave_locked(Instance& instance, BlockingRead& read) noexcept {
  if (!read.entered || !is_generation(instance, read.generation)) return false;
  read.entered = false;
  std::uint64_t readers = instance.blocked_readers.load(std::memory_order_relaxed);
  while (round_of(readers) == read.round) {
    USERFAULT_INVARIANT(count_of(readers) != 0, "a reader left that was not counted");
    if (instance.blocked_readers.compare_exchange_weak(readers, readers - 1, std::memory_order_relaxed)) break;
  }
  return true;
}

}  // namespace

std::size_t take_messages(Instance& instance, userfault_msg* into, std::size_t count) noexcept {
  Locked locked(instance.lock);
  return take_locked(instance, into, count);
}

void enter_reader(Instance& instance, BlockingRead& read) noexcept {
  USERFAULT_INVARIANT(!read.entered, "a reader was counted twice");
  read.round = round_of(instance.blocked_readers.fetch_add(1));
  read.entered = true;
}

// It leaves first, so that the bell is looked at once, as it is to be without this reader.
long take_as(Instance& instance, BlockingRead& read, userfault_msg* into, std::size_t count) noexcept {
  Locked locked(instance.lock);
  if (!is_generation(instance, read.generation)) return -EBADF;
  if (!has_messages(instance)) return 0;
  static_cast<void>(leave_locked(instance, read));
  return static_cast<long>(take_locked(instance, into, count));
}

SpinLength worth_spinning_for(Instance& instance) noexcept {
  // Probing is for threads that fault: a monitor may have nothing to do for hours.
  const SpinLength length = instance.reader_spin.worth();
  return length == SpinLength::kProbe ? SpinLength::kShort : length;
}

bool spin_until_readable(Instance& instance, std::uint32_t seen, SpinLength length) noexcept {
  return spin_while(instance.arrivals, seen, length, instance.reader_spin);
}

long wait_readable(Instance& instance, std::uint32_t seen) noexcept {
  instance.futex_sleepers.fetch_add(1);
  // Without a timeout: after a handler with SA_RESTART the kernel goes on waiting, as read(2) does.
  const long result = sys::futex_wait(&instance.arrivals, seen, nullptr);
  instance.futex_sleepers.fetch_sub(1);
  return result == -EINTR ? -EINTR : 0;
}

void leave_reader(Instance& instance, BlockingRead& read) noexcept {
  Locked locked(instance.lock);
  if (leave_locked(instance, read)) update_bell(instance);
}

// Readers that are counted may have left without a word, so they count no more, and the bell rings; those that were
// woken for the message may have left as well, so all of them are.
void call_for_readers(Instance& instance) noexcept {
  {
    Locked locked(instance.lock);
    if (!has_messages(instance)) return;
    const std::uint64_t readers = instance.blocked_readers.load(std::memory_order_relaxed);
    // A reader that enters now is counted in one round or in the other.
    instance.blocked_readers.store(std::uint64_t{round_of(readers) + 1} << 32, std::memory_order_relaxed);
    update_bell(instance);
  }
  sys::futex_wake(&instance.arrivals, INT32_MAX);
}

}  // namespace userfault::engine::user

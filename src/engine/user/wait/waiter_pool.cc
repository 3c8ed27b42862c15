// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/waiter_pool.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

constexpr std::size_t kMaxWaiters = std::size_t{1} << 16;
constinit Waiter* waiters = nullptr;
constinit std::atomic<std::uint32_t> waiters_used{0};
// A stack of free slots: index + 1 in the low half, a count that defeats ABA in the high half.
constinit std::atomic<std::uint64_t> waiters_free{0};
constinit std::atomic<std::uint64_t> tickets{0};

constexpr std::uint64_t next_head(std::uint64_t head, std::uint64_t number) noexcept {
  return (((head >> 32) + 1) << 32) | number;
}

std::uint32_t number_of(const Waiter* waiter) noexcept {
  const auto index = static_cast<std::size_t>(waiter - waiters);
  USERFAULT_INVARIANT(index < kMaxWaiters, "a waiter is not one of the pool");
  return static_cast<std::uint32_t>(index) + 1;
}

Waiter* pop_waiter() noexcept {
  std::uint64_t head = waiters_free.load(std::memory_order_acquire);
  while ((head & 0xffffffff) != 0) {
    Waiter* top = &waiters[(head & 0xffffffff) - 1];
    const auto below = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(top->next));
    if (waiters_free.compare_exchange_weak(head, next_head(head, below), std::memory_order_acq_rel)) return top;
  }
  const std::uint32_t index = waiters_used.fetch_add(1);
  if (index < kMaxWaiters) return &waiters[index];
  waiters_used.fetch_sub(1);
  return nullptr;
}

void push_waiter(Waiter* waiter) noexcept {
  USERFAULT_INVARIANT(waiter->list == nullptr, "a waiter was freed that stands in a queue");
  USERFAULT_INVARIANT(waiter->ticket.load(std::memory_order_relaxed) == 0, "a waiter was freed whose wait goes on");
  const std::uint32_t number = number_of(waiter);
  std::uint64_t head = waiters_free.load(std::memory_order_relaxed);
  do waiter->next = reinterpret_cast<Waiter*>(static_cast<std::uintptr_t>(head & 0xffffffff));
  while (!waiters_free.compare_exchange_weak(head, next_head(head, number), std::memory_order_acq_rel));
}

// Where the slot of a thread's latest wait is found again. Earlier ones do not matter, and where two threads share an
// entry a slot is lost only if both leave one behind.
constexpr std::size_t kLatest = 1024;
constinit std::atomic<std::uint32_t> latest[kLatest];

std::atomic<std::uint32_t>& latest_of(int tid) noexcept { return latest[static_cast<unsigned>(tid) % kLatest]; }

// A handler's frame is gone when a later one of its thread lies at or above it. Frames further than a stack apart are
// on different stacks, of which nothing is known.
bool was_abandoned(const Waiter& waiter, const FaultingThread& thread) noexcept {
  constexpr std::uintptr_t kOneStack = std::uintptr_t{64} << 20;
  return waiter.tid.load(std::memory_order_relaxed) == thread.tid && waiter.frame <= thread.frame &&
         thread.frame - waiter.frame < kOneStack;
}

bool has_no_thread(const Waiter& waiter) noexcept {
  return raw_syscall(SYS_tkill, waiter.tid.load(std::memory_order_relaxed), 0) == -ESRCH;
}

// Frees a woken slot, unless its thread does so at this moment.
void reclaim_if_woken(Waiter& waiter) noexcept {
  std::uint64_t ticket = waiter.ticket.load();
  if (ticket != 0 && waiter.state.load() == Waiter::kWoken && waiter.ticket.compare_exchange_strong(ticket, 0))
    push_waiter(&waiter);
}

void reclaim_latest(const FaultingThread& thread) noexcept {
  const std::uint32_t number = latest_of(thread.tid).load(std::memory_order_relaxed);
  if (number != 0 && was_abandoned(waiters[number - 1], thread)) reclaim_if_woken(waiters[number - 1]);
}

template <typename Condition>
void reclaim(WaiterList& list, Condition condition) noexcept {
  for (Waiter* at = list.head; at != nullptr;) {
    Waiter* next = at->next;
    if (condition(*at)) {
      list.remove(at);
      at->ticket.store(0);
      push_waiter(at);
    }
    at = next;
  }
}

}  // namespace

void WaiterList::append(Waiter* waiter) noexcept {
  USERFAULT_INVARIANT(waiter->list == nullptr, "a waiter was queued that stands in a queue");
  USERFAULT_INVARIANT((head == nullptr) == (tail == nullptr) && (head == nullptr) == (count == 0),
                      "a queue of waiters has only one end");
  waiter->list = this;
  waiter->previous = tail;
  waiter->next = nullptr;
  (tail != nullptr ? tail->next : head) = waiter;
  tail = waiter;
  ++count;
}

void WaiterList::remove(Waiter* waiter) noexcept {
  USERFAULT_INVARIANT(waiter->list == this, "a waiter was taken out of a queue that it does not stand in");
  USERFAULT_INVARIANT(count != 0, "an empty queue has a waiter");
  USERFAULT_INVARIANT((waiter->previous != nullptr ? waiter->previous->next : head) == waiter &&
                          (waiter->next != nullptr ? waiter->next->previous : tail) == waiter,
                      "a waiter's neighbours do not know it");
  (waiter->previous != nullptr ? waiter->previous->next : head) = waiter->next;
  (waiter->next != nullptr ? waiter->next->previous : tail) = waiter->previous;
  waiter->previous = waiter->next = nullptr;
  waiter->list = nullptr;
  --count;
}

long map_waiters() noexcept {
  if (waiters != nullptr) return 0;
  const long at = sys::mmap(0, kMaxWaiters * sizeof(Waiter), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (is_error(at)) return at;
  waiters = reinterpret_cast<Waiter*>(at);
  return 0;
}

void free_all_waiters() noexcept {
  const std::uint32_t used = waiters_used.load() < kMaxWaiters ? waiters_used.load() : kMaxWaiters;
  for (std::uint32_t i = 0; i < used; ++i) {
    // The thread that forks may do so in a handler on top of its own wait, to which it returns: no thread of the
    // child would end that wait.
    waiters[i].state.store(Waiter::kWoken);
    waiters[i].ticket.store(0);
    waiters[i].list = nullptr;
  }
  for (auto& number : latest) number.store(0, std::memory_order_relaxed);
  waiters_used.store(0);
  waiters_free.store(0);
}

ClaimedWaiter claim_waiter(const FaultingThread& thread) noexcept {
  reclaim_latest(thread);
  Waiter* waiter = pop_waiter();
  if (waiter == nullptr) return {};
  USERFAULT_INVARIANT(waiter->list == nullptr, "a free waiter stands in a queue");
  USERFAULT_INVARIANT(waiter->ticket.load(std::memory_order_relaxed) == 0, "a free waiter has a ticket");
  const std::uint64_t ticket = tickets.fetch_add(1) + 1;
  waiter->state.store(Waiter::kRunning, std::memory_order_relaxed);
  waiter->tid.store(thread.tid, std::memory_order_relaxed);
  waiter->frame = thread.frame;
  waiter->ticket.store(ticket);
  latest_of(thread.tid).store(number_of(waiter), std::memory_order_relaxed);
  return {waiter, ticket};
}

void discard_waiter(const ClaimedWaiter& claimed) noexcept {
  USERFAULT_INVARIANT(claimed.waiter->ticket.load(std::memory_order_relaxed) == claimed.ticket,
                      "a waiter that was never queued has changed hands");
  claimed.waiter->ticket.store(0);
  push_waiter(claimed.waiter);
}

void release_waiter(const ClaimedWaiter& claimed) noexcept {
  USERFAULT_INVARIANT(claimed.ticket != 0, "a wait has no ticket");
  std::uint64_t ticket = claimed.ticket;
  if (claimed.waiter->ticket.compare_exchange_strong(ticket, 0)) push_waiter(claimed.waiter);
}

void reclaim_abandoned(WaiterList& list, const FaultingThread& thread) noexcept {
  reclaim(list, [&](const Waiter& waiter) { return was_abandoned(waiter, thread); });
}

void reclaim_ended(WaiterList& list) noexcept { reclaim(list, has_no_thread); }

void reclaim_woken(const FaultingThread& thread) noexcept {
  for (std::size_t i = 0; i < kMaxWaiters; ++i) {
    Waiter& waiter = waiters[i];
    if (waiter.ticket.load() == 0 || waiter.state.load() != Waiter::kWoken) continue;
    if (was_abandoned(waiter, thread) || has_no_thread(waiter)) reclaim_if_woken(waiter);
  }
}

void WakeUps::add(Waiter* waiter) noexcept {
  if (count_ == kMost) wake();
  waiters_[count_++] = waiter;
}

void WakeUps::wake() noexcept {
  USERFAULT_INVARIANT(count_ <= kMost, "more threads are to be woken than were noted");
  for (std::size_t i = 0; i < count_; ++i) sys::futex_wake(&waiters_[i]->state, 1);
  count_ = 0;
}

void wake_all(WaiterList& list, std::uintptr_t start, std::uintptr_t end, WakeUps& wake_ups) noexcept {
  for (Waiter* at = list.head; at != nullptr;) {
    Waiter* next = at->next;
    if (at->address - start < end - start) {
      list.remove(at);
      const std::uint32_t before = at->state.exchange(Waiter::kWoken);
      USERFAULT_INVARIANT(before != Waiter::kWoken, "a thread was woken twice for one fault");
      if (before == Waiter::kSleeping) wake_ups.add(at);
    }
    at = next;
  }
}

}  // namespace userfault::engine::user

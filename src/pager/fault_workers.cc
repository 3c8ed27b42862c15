// SPDX-License-Identifier: Apache-2.0
// The threads that answer faults.
//
// One of them, the leader, reads messages. While the store answers at once the leader does
// everything itself: one thread, one read, one copy a fault, no hand-over. It gives the lead to the
// next thread when it would have to wait for the store, or when one read brought several faults.
// The rejected way: all threads blocked in read(2). The kernel wakes all of them for each message,
// and on a machine with few processors the losers cost as much as the fault.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "pager/core.h"

namespace userfault::pager {
namespace {

[[noreturn]] void die(const Error& error) {
  std::fprintf(stderr, "userfault: the pager cannot read its descriptor: %s\n", error.message().c_str());
  std::abort();
}

}  // namespace

void Core::work() {
  std::unique_lock leader(leader_);
  const std::function<void()> hand_over = [&] {
    if (leader.owns_lock()) leader.unlock();
  };
  // With a single worker there is nobody to hand over to, and the store may as well wait.
  const std::function<void()> before_waiting = workers_count_ > 1 ? hand_over : std::function<void()>();
  std::array<Message, 16> buffer;
  const std::size_t most = workers_count_ > 1 ? 4 : buffer.size();
  // Asking for more than one message makes the kernel look for a second, which a lone fault waits
  // for. So most reads ask for one, and one in sixteen finds out whether more are queued.
  std::size_t ask = 1;
  std::size_t lone = 0;
  // Ended by the doorbell's message alone: if a worker left because of stopping_, there could be
  // nobody to answer the bell.
  while (!rung_) {
    const std::span<Message> room = std::span(buffer).first(ask);
    auto messages = look_before_sleeping(room);
    if (!messages || messages->empty()) messages = descriptor_.read(room);
    if (!messages && messages.error().code == EINTR) continue;
    if (!messages) die(messages.error());
    const auto count = static_cast<std::uint32_t>(messages->size());
    lone = count > 1 ? 0 : lone + 1;
    ask = lone % 16 == 0 ? most : 1;
    faults_in_service_ += count;
    if (count > 1 && workers_count_ > 1) hand_over();
    for (const Message& message : *messages) serve(message, before_waiting);
    if (faults_in_service_.fetch_sub(count) == count) faults_in_service_.notify_all();
    if (!leader.owns_lock()) leader.lock();
  }
}

// Falling asleep and being woken is most of a fault's time where an idle processor has to be fetched
// out of a deep sleep, so the leader looks for the next fault a few microseconds first, as long as that
// pays (busy_poll.h). The user engine's read does so itself.
Result<std::span<Message>> Core::look_before_sleeping(std::span<Message> room) {
  if (descriptor_.engine() != EngineKind::kKernel || !poll_.is_worth_it()) return room.first(0);
  BusyPoll::Round round(poll_);
  for (;;) {
    const auto messages = descriptor_.read_now(room);
    if (!messages) poll_.give_up();
    if (!messages || !messages->empty()) {
      if (messages) round.succeeded();
      return messages;
    }
    if (!round.go_on()) return messages;
  }
}

void Core::serve(const Message& message, const std::function<void()>& before_waiting) {
  const Fault* const fault = std::get_if<Fault>(&message);
  if (fault == nullptr) return;  // no layout event was asked for
  if (const RegionUse region = find(fault->address); region) {
    serve_fault(region, *fault, before_waiting);
    return;
  }
  const PageRange bell = PageRange::of(doorbell_.data(), doorbell_.length());
  if (bell.contains(fault->address)) {
    rung_ = true;
    (void)descriptor_.zeropage_fully(bell);
    return;
  }
  // A region that is being closed: the thread shall try again, and find the memory gone.
  const std::size_t page = doorbell_.length();
  (void)descriptor_.wake({fault->address & ~(page - 1), page});
}

void Core::serve_fault(const RegionUse& region, const Fault& fault, const std::function<void()>& before_waiting) {
  Counters& counters = region->counters();
  counters.faults.add(1);
  const std::size_t page = region->page_of(fault.address);
  const PageState state = region->states().claim_or_want(page);
  if (state == PageState::kAbsent) {
    fill_for_fault(region, page, fault.write && region->writable(), before_waiting);
    return;
  }
  if (state == PageState::kOwned) {
    counters.repeated.add(1);
    return;  // its owner wakes the thread
  }
  if (state == PageState::kMapped) {
    counters.repeated.add(1);  // the message is older than the mapping
    region->wake({page, 1});
    return;
  }
  // It was filled, or poisoned, once. Either it is there, and the message is older than that; or the
  // program has dropped it since, and it has to come back.
  const bool there = !region->managed() && region->surely_present(fault.address);
  if (there || !region->states().claim(page, state)) {
    counters.repeated.add(1);
    region->wake({page, 1});
  } else if (region->managed() && state != PageState::kPoisoned) {
    revive(region, page, state, fault, before_waiting);
  } else {
    if (state == PageState::kResident) forget_content(*region, state);
    refill(region, page, fault.write && region->writable(), before_waiting);
  }
}

// The caller owns the page, and it alone is filled.
void Core::refill(const RegionUse& region, std::size_t page, bool write, const std::function<void()>& before_waiting) {
  const FillOrder order{
      .span = {page, 1}, .demanded = page, .cause = Cause::kFault, .write = write, .since_ns = now_ns()};
  if (take_memory(*region, 1, before_waiting) == 0) {
    wait_for_memory(region, order);
  } else {
    filler_.fill(region, order, before_waiting);
  }
}

// The same, with its neighbours as far as that is worth it.
void Core::fill_for_fault(const RegionUse& region, std::size_t page, bool write,
                          const std::function<void()>& before_waiting) {
  FillOrder order{.span = {page, 1}, .demanded = page, .cause = Cause::kFault, .write = write, .since_ns = now_ns()};
  std::size_t upwards = 1;
  if (region->detects_streams()) {
    const auto advice = region->streams().on_fault(page);
    if (advice.ahead.count != 0) enqueue(*region, {advice.ahead, advice.stride}, true);
    if (advice.passed != 0) count_hits(*region, advice.passed);
    upwards = advice.now.count;
  }
  const std::size_t most = std::max(upwards, region->around());
  const std::size_t taken = take_memory(*region, most, before_waiting);
  if (taken == 0) {
    wait_for_memory(region, order);
    return;
  }
  if (upwards > 1) order.span.count += region->claim_upwards(page + 1, std::min(upwards, taken) - 1);
  if (order.span.count == 1 && region->around() > 1) order.span = claim_around(*region, page, taken);
  budget_.give((taken - order.span.count) * region->page_size());
  filler_.fill(region, order, before_waiting);
}

// A walk has passed pages that were asked for ahead. Not all of them need have been fetched.
void Core::count_hits(Region& region, std::size_t pages) {
  Counters& counters = region.counters();
  const std::uint64_t fetched = counters.pages_by_prefetch.get();
  const std::uint64_t hits = counters.prefetch_hits.get();
  counters.prefetch_hits.add(std::min<std::uint64_t>(pages, fetched - std::min(hits, fetched)));
}

// The aligned block of pages around one that is ours already, as far as it is free; `most` pages.
PageSpan Core::claim_around(Region& region, std::size_t page, std::size_t most) {
  const std::size_t first = page & ~(region.around() - 1);
  const std::size_t above = region.claim_upwards(page + 1, std::min(most, first + region.around() - page) - 1);
  const std::size_t below = region.claim_downwards(page, std::min(most - above - 1, page - first));
  return {page - below, below + 1 + above};
}

// Ends the workers, of whom one may be blocked in read(2): with a fault of our own.
void Core::ring() {
  if (threads_.empty()) return;
  const volatile std::byte* const bell = doorbell_.data();
  (void)*bell;
}

}  // namespace userfault::pager

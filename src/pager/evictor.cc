// SPDX-License-Identifier: Apache-2.0
#include "pager/evictor.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "pager/accounting.h"

namespace userfault::pager {
namespace {

// Spans that one call looks at without finding enough: it is called again, or a fault waits for memory.
constexpr std::size_t kMostLooks = 512;
constexpr std::size_t kLooksAtOnce = 64;
// How much of the budget is hidden while memory is needed: what a page's second chance lasts.
constexpr std::uint64_t kHiddenPart = 4;
constexpr std::uint64_t kBatchBytes = std::uint64_t{256} << 10;

std::uint64_t bytes_of(const Region& region, PageSpan span) { return span.count * region.page_size(); }

// It has none of the budget's memory any more, and comes back to a queue when it has some again.
bool is_gone(PageState state) {
  return state == PageState::kAbsent || state == PageState::kPoisoned || state == PageState::kMapped;
}

// Claims a page in the state it was seen in. False: another thread was faster, or the page is pinned. The pins
// are looked at after the claim: a thread that pins the page later waits for its owner.
bool claim_unpinned(Region& region, std::size_t page, PageState state) {
  if (!region.states().claim(page, state)) return false;
  if (!region.pins().cover(page)) return true;
  if (region.states().finish(page, state)) region.wake({page, 1});
  return false;
}

}  // namespace

// Of a small budget no more than its slack, or what was just hidden goes before it had time to be touched
// again.
std::uint64_t Evictor::batch_bytes() const noexcept { return std::min(kBatchBytes, budget_.slack()); }

void Evictor::add(Region& region, PageSpan span) { enqueue(Queue::kShown, region, span); }

void Evictor::enqueue(Queue queue, Region& region, PageSpan span) {
  if (!budget_.limited() || span.count == 0) return;
  USERFAULT_CHECK(region.managed(), "a page that cannot be evicted is queued for it");
  const base::MutexLock lock(mutex_);
  at(queue).push_back({&region, span});
  if (queue == Queue::kHidden) hidden_bytes_ += bytes_of(region, span);
}

void Evictor::count_unhidden(const Region& region, PageSpan span) {
  USERFAULT_CHECK(hidden_bytes_ >= bytes_of(region, span), "fewer bytes than none are hidden");
  hidden_bytes_ -= bytes_of(region, span);
}

bool Evictor::forget(Region& region) {
  const base::MutexLock lock(mutex_);
  const auto its = [&](const Entry& entry) { return entry.region == &region; };
  for (const Entry& entry : hidden_)
    if (its(entry)) count_unhidden(region, entry.span);
  std::erase_if(shown_, its);
  std::erase_if(hidden_, its);
  return !region.in_use();
}

std::vector<Evictor::Picked> Evictor::pick(Queue which, std::uint64_t bytes) {
  std::vector<Picked> picked;
  std::deque<Entry>& queue = at(which);
  for (std::uint64_t found = 0; found < bytes && picked.size() < kLooksAtOnce && !queue.empty();) {
    if (policy_ == Eviction::kRandom) std::swap(queue.front(), queue[random_() % queue.size()]);
    const Entry entry = queue.front();
    queue.pop_front();
    found += bytes_of(*entry.region, entry.span);
    if (which == Queue::kHidden) count_unhidden(*entry.region, entry.span);
    picked.push_back({RegionUse(*entry.region), entry.span});
  }
  return picked;
}

std::uint64_t Evictor::evict(std::uint64_t bytes, const FaultContext& context) {
  std::uint64_t freed = 0;
  for (std::size_t looks = 0; freed < bytes && looks < kMostLooks;) {
    const std::vector<Picked> picked = pick_next_to_go(bytes - freed);
    if (picked.empty()) break;
    looks += picked.size();
    std::vector<PageRun> runs;
    for (const Picked& one : picked) claim_what_may_go(one, runs);
    freed += write_and_drop(runs, context);
  }
  return freed;
}

std::vector<Evictor::Picked> Evictor::pick_next_to_go(std::uint64_t bytes) {
  if (policy_ == Eviction::kClock) hide_some(bytes);
  const base::MutexLock lock(mutex_);
  return pick(policy_ == Eviction::kClock ? Queue::kHidden : Queue::kShown, bytes);
}

// Twice what is to go, until enough is hidden: so the first thread that needs memory does not do it all.
void Evictor::hide_some(std::uint64_t bytes) {
  std::vector<Picked> picked;
  {
    const base::MutexLock lock(mutex_);
    if (hidden_bytes_ >= budget_.limit() / kHiddenPart) return;
    picked = pick(Queue::kShown, 2 * bytes);
  }
  for (const Picked& one : picked) hide_span(one);
}

void Evictor::hide_span(const Picked& picked) {
  Region& region = *picked.region;
  PageRun run{.region = picked.region.share(), .span = {}};
  for (std::size_t page = picked.span.first; page < picked.span.end(); ++page) {
    const PageState state = region.states().get(page);
    const bool mapped = state == PageState::kResident || state == PageState::kDirty;
    const bool claimed = mapped && !region.pins().cover(page) && claim_unpinned(region, page, state);
    if (run.span.count != 0 && (!claimed || state != run.was || run.span.end() != page)) hide_run(run);
    if (claimed) {
      if (run.span.count == 0) run.span.first = page;
      ++run.span.count;
      run.was = state;
    } else if (!is_gone(state)) {
      // Pinned, or owned, or hidden already: looked at again when its turn comes.
      enqueue(is_idle(state) ? Queue::kHidden : Queue::kShown, region, {page, 1});
    }
  }
  if (run.span.count != 0) hide_run(run);
}

// Empties the run.
void Evictor::hide_run(PageRun& run) {
  if (run.region->scans()) {
    const std::vector<PageRun> parts = hide_and_look(run, budget_);
    for (const PageRun& part : parts) {
      part.finish(part.was);
      enqueue(Queue::kHidden, *part.region, part.span);
    }
    if (parts.empty()) retain(run, run.was);
    run.span = {};
    return;
  }
  const bool hidden = run.region->hide(run.span);
  const PageState idle = run.was == PageState::kDirty ? PageState::kIdleDirty : PageState::kIdle;
  run.finish(hidden ? idle : run.was);
  enqueue(hidden ? Queue::kHidden : Queue::kShown, *run.region, run.span);
  run.span = {};
}

bool Evictor::may_go(PageState state) const noexcept {
  return is_idle(state) || (policy_ != Eviction::kClock && is_in_memory(state));
}

// Makes runs of what may go, and puts the rest back.
void Evictor::claim_what_may_go(const Picked& picked, std::vector<PageRun>& runs) {
  Region& region = *picked.region;
  PageSpan kept;
  for (std::size_t page = picked.span.first; page < picked.span.end(); ++page) {
    const PageState state = region.states().get(page);
    const bool held = is_dirty(state) && region.write_hold().active();
    if (may_go(state) && !held && claim_unpinned(region, page, state)) {
      append_page(runs, picked.region, page, state, page != picked.span.first);
      continue;
    }
    if (is_gone(state)) continue;
    if (kept.count == 0 || kept.end() != page) {
      enqueue(Queue::kShown, region, kept);
      kept = {page, 0};
    }
    ++kept.count;
  }
  enqueue(Queue::kShown, region, kept);
}

// The runs that no thread can write to any more; the others are retained.
std::vector<PageRun> Evictor::hold_writers_off(std::span<PageRun> runs) {
  std::vector<PageRun> ready;
  for (PageRun& run : runs) {
    if (run.region->scans() && !is_idle(run.was)) {
      std::vector<PageRun> parts = hide_and_look(run, budget_);
      if (parts.empty()) retain(run, run.was);
      std::ranges::move(parts, std::back_inserter(ready));
    } else if (run.was == PageState::kDirty && !run.region->protect(run.span)) {
      retain(run, run.was);
    } else {
      ready.push_back(std::move(run));
    }
  }
  return ready;
}

std::uint64_t Evictor::write_and_drop(std::span<PageRun> runs, const FaultContext& context) {
  std::vector<PageRun> ready = hold_writers_off(runs);
  if (std::ranges::any_of(ready, [](const PageRun& run) { return is_dirty(run.was); })) context.before_waiting();
  write_back_.write(ready, 1);
  std::uint64_t freed = 0;
  for (const PageRun& run : ready) freed += drop_run(run);
  return freed;
}

std::uint64_t Evictor::drop_run(const PageRun& run) {
  Region& region = *run.region;
  if (run.code != 0) {
    retain(run, run.was);
    return 0;
  }
  const std::uint64_t bytes = run.bytes();
  if (is_dirty(run.was)) subtract_dirty(region.counters(), budget_, bytes);
  if (!region.drop(run.span)) {
    retain(run, is_idle(run.was) ? PageState::kIdle : PageState::kResident);
    return 0;
  }
  region.counters().evictions.add(run.span.count);
  subtract_resident(region.counters(), budget_, bytes);
  run.finish(PageState::kAbsent);
  budget_.give_back(bytes);
  return bytes;
}

void Evictor::retain(const PageRun& run, PageState state) {
  run.finish(state);
  enqueue(Queue::kShown, *run.region, run.span);
}

}  // namespace userfault::pager

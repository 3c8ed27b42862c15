// SPDX-License-Identifier: Apache-2.0
#include "pager/evictor.h"

#include <algorithm>
#include <iterator>

namespace userfault::pager {
namespace {

// Spans that one call looks at without finding enough: it is asked again, or somebody waits.
constexpr std::size_t kMostLooks = 512;
constexpr std::size_t kLooksAtOnce = 64;
// How much of the budget is hidden while memory is needed: what a page's second chance lasts.
constexpr std::uint64_t kHiddenPart = 4;

std::uint64_t bytes_of(const Region& region, PageSpan span) { return span.count * region.page_size(); }

// It has none of our memory any more, and comes back to a queue when it has some again.
bool is_gone(PageState state) {
  return state == PageState::kAbsent || state == PageState::kPoisoned || state == PageState::kMapped;
}

}  // namespace

void Evictor::add(Region& region, PageSpan span) { put_back(Queue::kShown, region, span); }

void Evictor::put_back(Queue queue, Region& region, PageSpan span) {
  if (!budget_.limited() || span.count == 0) return;
  const base::MutexLock lock(mutex_);
  at(queue).push_back({&region, span});
  if (queue == Queue::kHidden) hidden_bytes_ += bytes_of(region, span);
}

bool Evictor::forget(const Region& region) {
  const base::MutexLock lock(mutex_);
  const auto its = [&](const Entry& entry) { return entry.region == &region; };
  for (const Entry& entry : hidden_)
    if (its(entry)) hidden_bytes_ -= bytes_of(region, entry.span);
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
    if (which == Queue::kHidden) hidden_bytes_ -= bytes_of(*entry.region, entry.span);
    picked.push_back({RegionUse(*entry.region, use_ended_), entry.span});
  }
  return picked;
}

std::uint64_t Evictor::make_room(std::uint64_t bytes, const std::function<void()>& before_waiting) {
  std::uint64_t freed = 0;
  for (std::size_t looks = 0; freed < bytes && looks < kMostLooks;) {
    std::vector<Picked> picked = pick_hidden(bytes - freed);
    if (picked.empty()) break;
    looks += picked.size();
    std::vector<Run> runs;
    for (Picked& one : picked) claim(one, runs);
    freed += evict(runs, before_waiting);
  }
  return freed;
}

// What is next to go.
std::vector<Evictor::Picked> Evictor::pick_hidden(std::uint64_t bytes) {
  if (policy_ == Eviction::kClock) hide_some(bytes);
  const base::MutexLock lock(mutex_);
  return pick(policy_ == Eviction::kClock ? Queue::kHidden : Queue::kShown, bytes);
}

// Twice what is to go, until enough is hidden: so it is not all done by the first who needs memory.
void Evictor::hide_some(std::uint64_t bytes) {
  std::vector<Picked> picked;
  {
    const base::MutexLock lock(mutex_);
    if (hidden_bytes_ >= budget_.limit() / kHiddenPart) return;
    picked = pick(Queue::kShown, 2 * bytes);
  }
  for (Picked& one : picked) hide(one);
}

void Evictor::hide(Picked& picked) {
  Region& region = *picked.region;
  Run run{.region = picked.region.share(), .span = {}};
  for (std::size_t page = picked.span.first; page < picked.span.end(); ++page) {
    const PageState state = region.states().get(page);
    const bool mapped = state == PageState::kResident || state == PageState::kDirty;
    const bool claimed = mapped && !region.pins().cover(page) && region.states().claim(page, state);
    const bool pinned = claimed && region.pins().cover(page);
    if (pinned && region.states().finish(page, state)) region.wake({page, 1});
    if (run.span.count != 0 && (!claimed || pinned || state != run.was || run.span.end() != page)) hide_run(run);
    if (claimed && !pinned) {
      if (run.span.count == 0) run.span.first = page;
      ++run.span.count;
      run.was = state;
    } else if (!is_gone(state)) {
      // Pinned, or somebody's, or hidden already: looked at again when its turn comes.
      put_back(is_idle(state) ? Queue::kHidden : Queue::kShown, region, {page, 1});
    }
  }
  if (run.span.count != 0) hide_run(run);
}

void Evictor::hide_run(Run& run) {
  if (run.region->scans()) {
    const std::vector<Run> parts = hide_and_look(run, budget_);
    for (const Run& part : parts) {
      WriteBack::release(part, part.was);
      put_back(Queue::kHidden, *part.region, part.span);
    }
    if (parts.empty()) keep(run, run.was);
    run.span = {};
    return;
  }
  const bool hidden = run.region->hide(run.span);
  const PageState idle = run.was == PageState::kDirty ? PageState::kIdleDirty : PageState::kIdle;
  WriteBack::release(run, hidden ? idle : run.was);
  put_back(hidden ? Queue::kHidden : Queue::kShown, *run.region, run.span);
  run.span = {};
}

bool Evictor::may_go(PageState state) const noexcept {
  return is_idle(state) || (policy_ != Eviction::kClock && is_in_memory(state));
}

// Makes runs of what may go, and puts the rest back.
void Evictor::claim(Picked& picked, std::vector<Run>& runs) {
  Region& region = *picked.region;
  PageSpan kept;
  bool join = false;  // to the last run
  for (std::size_t page = picked.span.first; page < picked.span.end(); ++page) {
    const PageState state = region.states().get(page);
    bool mine =
        may_go(state) && !(is_dirty(state) && region.write_hold().active()) && region.states().claim(page, state);
    if (mine && region.pins().cover(page)) {
      if (region.states().finish(page, state)) region.wake({page, 1});
      mine = false;
    }
    if (mine) {
      join = join && runs.back().was == state;
      if (join) {
        ++runs.back().span.count;
      } else {
        runs.push_back({.region = picked.region.share(), .span = {page, 1}, .was = state});
      }
      join = true;
      continue;
    }
    join = false;
    if (is_gone(state)) continue;
    if (kept.count == 0 || kept.end() != page) {
      put_back(Queue::kShown, region, kept);
      kept = {page, 0};
    }
    ++kept.count;
  }
  put_back(Queue::kShown, region, kept);
}

std::uint64_t Evictor::evict(std::span<Run> runs, const std::function<void()>& before_waiting) {
  std::vector<Run> ready;
  for (Run& run : runs) {
    if (run.region->scans() && !is_idle(run.was)) {
      std::vector<Run> parts = hide_and_look(run, budget_);
      if (parts.empty()) keep(run, run.was);
      std::ranges::move(parts, std::back_inserter(ready));
    } else if (run.was == PageState::kDirty && !run.region->protect(run.span)) {
      keep(run, run.was);
    } else {
      ready.push_back(std::move(run));
    }
  }
  const auto dirty = [](const Run& run) { return is_dirty(run.was); };
  if (before_waiting && std::ranges::any_of(ready, dirty)) before_waiting();
  write_back_.write(ready, 1);
  std::uint64_t freed = 0;
  for (Run& run : ready) freed += drop(run);
  return freed;
}

std::uint64_t Evictor::drop(Run& run) {
  Region& region = *run.region;
  if (run.code != 0) {
    keep(run, run.was);
    return 0;
  }
  const std::uint64_t bytes = bytes_of(region, run.span);
  if (is_dirty(run.was)) {
    region.counters().dirty_bytes.subtract(bytes);
    budget_.subtract_dirty(bytes);
  }
  if (!region.drop(run.span)) {
    keep(run, is_idle(run.was) ? PageState::kIdle : PageState::kResident);
    return 0;
  }
  region.counters().evictions.add(run.span.count);
  region.counters().resident_bytes.subtract(bytes);
  budget_.subtract_resident(bytes);
  WriteBack::release(run, PageState::kAbsent);
  budget_.give(bytes);
  return bytes;
}

void Evictor::keep(Run& run, PageState state) {
  WriteBack::release(run, state);
  put_back(Queue::kShown, *run.region, run.span);
}

}  // namespace userfault::pager

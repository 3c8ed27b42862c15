// SPDX-License-Identifier: Apache-2.0
#include "pager/flusher.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "pager/accounting.h"
#include "pager/sizes.h"

namespace userfault::pager {
namespace {

// What is written at once. Threads that write to one of these pages wait for it.
constexpr std::uint64_t kBatchBytes = kWriteBytes;

Error store_error(PageRange range, int code) {
  return {.operation = Operation::kStore, .code = code, .address = range.start, .length = range.length};
}

}  // namespace

// A page that is owned may become dirty, or may be on its way to the store: it is waited for. While
// this thread waits it owns nothing, so two flushes never wait for each other.
// What was written without a fault is looked for once, before the walk. By the time the walk comes to a page
// another thread may have owned it and given it back: what it looked like before still counts.
Result<void> Flusher::flush(const RegionUse& region) const {
  PageStates& states = region->states();
  Batch batch;
  std::vector<bool> written(region->pages(), false);
  if (region->scans()) written = region->find_written({0, region->pages()});
  for (std::size_t page = 0; page < region->pages(); ++page) {
    for (PageState state = states.get(page);; state = states.get(page)) {
      if (is_owned(state)) {
        write(batch, write_back_.attempts());
        (void)states.wait_while_owned(page);
        if (region->scans()) written[page] = written[page] || region->find_written({page, 1})[0];
      } else if (state == PageState::kResident && written[page]) {
        mark_dirty(region, page);
      } else if (!is_dirty(state) || claim(region, page, state, batch)) {
        break;
      }
    }
    if (batch.bytes >= kBatchBytes) write(batch, write_back_.attempts());
  }
  write(batch, write_back_.attempts());
  if (!batch.result) return batch.result;
  if (const int code = write_back_.make_durable(*region); code != 0)
    return Unexpected(store_error(region->range(), code));
  return {};
}

// A page that is in memory and was written without a fault; unless a thread owns it just now.
void Flusher::mark_dirty(const RegionUse& region, std::size_t page) const {
  if (!region->states().claim(page, PageState::kResident)) return;
  add_dirty(region->counters(), budget_, region->page_size());
  if (region->states().finish(page, PageState::kDirty)) region->wake({page, 1});
}

// Makes a run ready to be copied. False: it cannot be.
bool Flusher::hold_writers_off(PageRun& run, std::vector<PageRun>& ready) const {
  if (run.was == PageState::kDirty && run.region->scans()) {
    std::vector<PageRun> parts = hide_and_look(run, budget_);
    std::ranges::move(parts, std::back_inserter(ready));
    return !parts.empty();
  }
  if (run.was == PageState::kDirty && !run.region->protect(run.span)) return false;
  ready.push_back(std::move(run));
  return true;
}

std::uint64_t Flusher::write_some(const RegionUse& region) const {
  if (region->write_hold().active()) return 0;
  Batch batch;
  const std::size_t pages = region->pages();
  const std::size_t start = region->sweep().load() % pages;
  std::size_t looked = 0;
  for (; looked < pages && batch.bytes < kBatchBytes; ++looked) {
    const std::size_t page = (start + looked) % pages;
    const PageState state = region->states().get(page);
    // A pinned page stays dirty whatever is done, so it is left to flush().
    if (is_dirty(state) && !region->pins().cover(page)) (void)claim(region, page, state, batch);
  }
  region->sweep() = (start + looked) % pages;
  write(batch, 1);
  return batch.cleaned;
}

// False when another thread was faster.
bool Flusher::claim(const RegionUse& region, std::size_t page, PageState state, Batch& batch) const {
  if (!region->states().claim(page, state)) return false;
  const bool joins = !batch.runs.empty() && batch.runs.back().bytes() < kFillBytes;
  append_page(batch.runs, region, page, state, joins);
  batch.bytes += region->page_size();
  return true;
}

void Flusher::write(Batch& batch, int attempts) const {
  std::vector<PageRun> ready;
  for (PageRun& run : batch.runs) {
    if (hold_writers_off(run, ready)) continue;
    run.code = EAGAIN;
    finish_written(run, batch);
  }
  write_back_.write(ready, attempts);
  for (const PageRun& run : ready) finish_written(run, batch);
  batch.runs.clear();
  batch.bytes = 0;
}

// A device may write to a pinned page at any time without a fault: it stays dirty.
void Flusher::finish_written(const PageRun& run, Batch& batch) const {
  USERFAULT_CHECK(is_dirty(run.was), "a page that is clean was written back");
  Region& region = *run.region;
  if (run.code != 0) {
    if (batch.result) batch.result = Unexpected(store_error(region.range_of(run.span), run.code));
    run.finish(run.was);
    return;
  }
  bool wanted = false;
  for (std::size_t page = run.span.first; page < run.span.end(); ++page) {
    if (region.pins().cover(page)) {
      wanted |= region.states().finish(page, run.was);
      continue;
    }
    batch.cleaned += region.page_size();
    subtract_dirty(region.counters(), budget_, region.page_size());
    wanted |= region.states().finish(page, is_idle(run.was) ? PageState::kIdle : PageState::kResident);
  }
  if (wanted) region.wake(run.span);
}

}  // namespace userfault::pager

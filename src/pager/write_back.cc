// SPDX-License-Identifier: Apache-2.0
#include "pager/write_back.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/check.h"
#include "pager/sizes.h"

namespace userfault::pager {
namespace {

// Counts the answers to one batch. It is on the asker's stack: the last answer is under the lock.
class Answers {
 public:
  void expect(std::size_t wanted) {
    const base::MutexLock lock(mutex_);
    left_ = wanted;
  }
  void one() {
    const base::MutexLock lock(mutex_);
    USERFAULT_CHECK(left_ != 0, "a store answers more writes than it was asked for");
    if (--left_ == 0) all_.notify_all();
  }
  void wait() {
    const base::MutexLock lock(mutex_);
    while (left_ != 0) all_.wait(mutex_);
  }

 private:
  base::Mutex mutex_;
  base::Condition all_;
  std::size_t left_ USERFAULT_GUARDED_BY(mutex_) = 0;
};

bool wants_writing(const PageRun& run) { return is_dirty(run.was) && run.code != 0; }

// The runs of one region that fit the buffer together, and what is asked of its store for them.
class Batch {
 public:
  // Takes runs from the front of `runs`; how many.
  std::size_t fill(std::span<PageRun> runs, std::byte* buffer) {
    std::size_t used = 0;
    std::size_t taken = 0;
    for (; taken < runs.size(); ++taken) {
      PageRun& run = runs[taken];
      if (!wants_writing(run)) continue;
      if (&*run.region != &*runs[0].region || used + run.bytes() > kWriteBytes) break;
      add(run, buffer + used);
      used += run.bytes();
    }
    return taken;
  }
  void write(Region& region) {
    if (requests_.empty()) return;
    answers_.expect(requests_.size());
    region.store().write(requests_);
    answers_.wait();
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      const StoreRequest& request = requests_[i];
      // A store that wrote less than all without a reason has failed.
      const int code = request.code == 0 && request.bytes < request.length ? EIO : request.code;
      if (code != 0) asked_[i]->code = code;
      if (code == 0) region.counters().bytes_written.add(request.length);
      if (code != 0) region.counters().write_errors.add(1);
    }
  }

 private:
  void add(PageRun& run, std::byte* copy) {
    parts_.clear();
    USERFAULT_CHECK(run.bytes() <= kWriteBytes, "a run is longer than the buffer that it is copied to");
    run.code = run.region->snapshot(run.span, copy, parts_);
    if (run.code != 0) return;
    for (const Region::Part part : parts_) {
      requests_.push_back({.offset = run.region->offset_of(run.span.first) + part.offset,
                           .data = copy + part.offset,
                           .length = part.length,
                           .may_wait = true,
                           .done = [](StoreRequest& request) { static_cast<Answers*>(request.context)->one(); },
                           .context = &answers_});
      asked_.push_back(&run);
    }
  }

  Answers answers_;
  std::vector<StoreRequest> requests_;
  std::vector<PageRun*> asked_;  // for each request
  std::vector<Region::Part> parts_;
};

}  // namespace

WriteBack::WriteBack(const PagerOptions& options, ErrorLog& errors, unsigned buffers)
    : attempts_(std::max(1, options.store_attempts)),
      pause_(options.store_pause),
      errors_(errors),
      buffers_(buffers),
      memory_(base::OwnedMapping::anonymous(kWriteBytes * buffers)) {
  if (!memory_.valid()) return;
  for (unsigned i = 0; i < buffers; ++i) free_.push_back(memory_.data() + i * kWriteBytes);
}

std::byte* WriteBack::take_buffer() {
  const base::MutexLock lock(mutex_);
  while (free_.empty()) returned_.wait(mutex_);
  std::byte* const buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void WriteBack::return_buffer(std::byte* buffer) {
  const base::MutexLock lock(mutex_);
  USERFAULT_CHECK(free_.size() < buffers_, "a buffer of the writers is returned twice");
  free_.push_back(buffer);
  returned_.notify_one();
}

void WriteBack::write(std::span<PageRun> runs, int attempts) {
  USERFAULT_CHECK(attempts > 0, "runs are to be written without a try");
  for (PageRun& run : runs) run.code = is_dirty(run.was) ? EINPROGRESS : 0;
  if (!std::ranges::any_of(runs, wants_writing)) return;
  std::byte* const buffer = take_buffer();
  for (int attempt = 1;; ++attempt) {
    write_once(runs, buffer);
    if (attempt >= attempts || !std::ranges::any_of(runs, wants_writing)) break;
    std::this_thread::sleep_for(pause_ * (1 << std::min(attempt - 1, 10)));
  }
  return_buffer(buffer);
  for (const PageRun& run : runs) {
    if (!is_dirty(run.was)) continue;
    if (run.code == 0) run.region->write_hold().accepted();
    // One refusal is no error yet: the page is still there, and an evictor will try again.
    if (run.code == 0 || run.region->write_hold().refused() + attempts <= attempts_) continue;
    const std::uintptr_t address = run.region->range_of(run.span).start;
    errors_.add({address, run.region->offset_of(run.span.first), run.code, true});
  }
}

int WriteBack::make_durable(const Region& region) {
  const int code = region.store().flush();
  if (code != 0) errors_.add({region.start(), 0, code, true});
  return code;
}

// Many runs of one region in one batch: a store that works in parallel sees them together.
void WriteBack::write_once(std::span<PageRun> runs, std::byte* buffer) const {
  while (!runs.empty()) {
    Batch batch;
    Region& region = *runs[0].region;
    const std::size_t taken = batch.fill(runs, buffer);
    batch.write(region);
    runs = runs.subspan(taken);
  }
}

}  // namespace userfault::pager

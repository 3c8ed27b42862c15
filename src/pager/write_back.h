// SPDX-License-Identifier: Apache-2.0
// Writing pages to their stores.
//
// Whoever calls owns the pages, and has made sure that nobody can write to them meanwhile: they are
// protected or idle. So a page goes to the store as it was at one moment, and two writes of one page
// never overtake each other.
//
// Threads: any. The caller waits; nothing of the pager's is locked meanwhile.
#pragma once

#include <span>
#include <vector>

#include "base/mapping.h"
#include "base/mutex.h"
#include "pager/budget.h"
#include "pager/error_log.h"
#include "pager/region.h"

namespace userfault::pager {

// What one thread has under way at once: enough for a run of any size.
constexpr std::size_t kWriteBytes = kHugePage;

// A run of pages of one kind that the caller owns.
struct Run {
  RegionUse region;
  PageSpan span = {};
  PageState was = PageState::kAbsent;  // before it was claimed; all of its pages
  int code = 0;                        // out: 0 or what the store said
};

// Of a region that scans: hides a run of mapped pages, which holds every writer off, and finds out which
// of them were written. The run in parts, idle and dirty or not; none when it could not be hidden, and all
// is as it was.
[[nodiscard]] std::vector<Run> hide_and_look(const Run& run, Budget& budget);

class WriteBack {
 public:
  // At most `buffers` threads write at once, others wait.
  WriteBack(const PagerOptions& options, ErrorLog& errors, unsigned buffers);
  [[nodiscard]] bool valid() const noexcept { return memory_.valid(); }

  // Writes the runs that are dirty, `attempts` times at most, and says in each run's code how it
  // went. What fails for good goes into the log.
  void write(std::span<Run> runs, int attempts);
  [[nodiscard]] int attempts() const noexcept { return attempts_; }
  // Has the region's store make durable what it was given: 0 or what it said, which goes into the log, too.
  [[nodiscard]] int make_durable(const Region& region);

  // Gives the pages of a run back to everybody, in state `to`, and wakes who waits for them.
  static void release(const Run& run, PageState to);

 private:
  void write_once(std::span<Run> runs, std::byte* buffer) const;
  [[nodiscard]] std::byte* take_buffer();
  void give_buffer(std::byte* buffer);

  const int attempts_;
  const std::chrono::microseconds pause_;
  ErrorLog& errors_;
  base::OwnedMapping memory_;
  base::Mutex mutex_;
  base::Condition given_;
  std::vector<std::byte*> free_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::pager

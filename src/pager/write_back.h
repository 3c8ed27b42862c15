// SPDX-License-Identifier: Apache-2.0
// Writing pages to their stores.
//
// The caller owns the pages, and has made sure that no thread can write to them meanwhile: they are
// protected or idle. So a page goes to the store as it was at one moment, and two writes of one page
// never overtake each other.
//
// Threads: any. The caller waits; nothing of the pager's is locked meanwhile. The pool's lock is a leaf.
#pragma once

#include <span>
#include <vector>

#include "base/mapping.h"
#include "base/mutex.h"
#include "pager/error_log.h"
#include "pager/page_run.h"
#include "userfault/pager.h"

namespace userfault::pager {

class WriteBack {
 public:
  // At most `buffers` threads write at once, others wait.
  WriteBack(const PagerOptions& options, ErrorLog& errors, unsigned buffers);
  [[nodiscard]] bool valid() const noexcept { return memory_.valid(); }

  // Writes the runs that are dirty, `attempts` times at most, and says in each run's code how it
  // went. What fails for good goes into the log.
  void write(std::span<PageRun> runs, int attempts);
  [[nodiscard]] int attempts() const noexcept { return attempts_; }
  // Has the region's store make durable what it was given: 0 or what it said, which goes into the log, too.
  [[nodiscard]] int make_durable(const Region& region);

 private:
  void write_once(std::span<PageRun> runs, std::byte* buffer) const;
  [[nodiscard]] std::byte* take_buffer();
  void return_buffer(std::byte* buffer);

  const int attempts_;
  const std::chrono::microseconds pause_;
  ErrorLog& errors_;
  const std::size_t buffers_;
  base::OwnedMapping memory_;
  base::Mutex mutex_;
  base::Condition returned_;
  std::vector<std::byte*> free_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// Writing a region's dirty pages back while they stay in memory. Threads: any; no lock of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "pager/budget.h"
#include "pager/page_run.h"
#include "pager/write_back.h"

namespace userfault::pager {

class Flusher {
 public:
  Flusher(Budget& budget, WriteBack& write_back) noexcept : budget_(budget), write_back_(write_back) {}

  // Writes what was dirty when it was called, also what others are writing just now, and makes the
  // store durable.
  [[nodiscard]] Result<void> flush(const RegionUse& region) const;

  // Writes some dirty pages, going on where the last call for this region ended; how many bytes are clean
  // now. Leaves pinned pages alone, and those that another thread owns.
  std::uint64_t write_some(const RegionUse& region) const;

 private:
  // Dirty pages that this thread has claimed, to be written together.
  struct Batch {
    std::vector<PageRun> runs;
    std::uint64_t bytes = 0;
    std::uint64_t cleaned = 0;
    Result<void> result;  // the first error
  };
  void mark_dirty(const RegionUse& region, std::size_t page) const;
  [[nodiscard]] bool claim(const RegionUse& region, std::size_t page, PageState state, Batch& batch) const;
  [[nodiscard]] bool hold_writers_off(PageRun& run, std::vector<PageRun>& ready) const;
  void write(Batch& batch, int attempts) const;
  void finish_written(const PageRun& run, Batch& batch) const;

  Budget& budget_;
  WriteBack& write_back_;
};

}  // namespace userfault::pager

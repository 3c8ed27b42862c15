// SPDX-License-Identifier: Apache-2.0
// Pages side by side, all in the same state, that one thread has claimed to hide them, write them or drop
// them. Between the claim and finish() they are that thread's alone.
#pragma once

#include <vector>

#include "pager/budget.h"
#include "pager/page_span.h"
#include "pager/page_states.h"
#include "pager/region_use.h"

namespace userfault::pager {

struct PageRun {
  RegionUse region;
  PageSpan span = {};
  PageState was = PageState::kAbsent;  // before it was claimed; all of its pages
  int code = 0;                        // out: 0 or what the store said

  [[nodiscard]] std::size_t bytes() const noexcept { return span.count * region->page_size(); }
  // The last step: every page is in state `to`, free for all, and the threads that wait for one are woken.
  void finish(PageState to) const;
};

// Appends a page that the caller has just claimed, to the last run if it continues that and `joins` allows
// it.
void append_page(std::vector<PageRun>& runs, const RegionUse& region, std::size_t page, PageState was, bool joins);

// Of a region that scans: hides a run of mapped pages, which holds every writer off, and finds out which
// of them were written. The run in parts, idle and dirty or not; none when it could not be hidden, and all
// is as it was.
[[nodiscard]] std::vector<PageRun> hide_and_look(const PageRun& run, Budget& budget);

}  // namespace userfault::pager

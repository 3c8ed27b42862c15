// SPDX-License-Identifier: Apache-2.0
#include "pager/page_run.h"

#include "base/check.h"
#include "pager/accounting.h"

namespace userfault::pager {

void PageRun::finish(PageState to) const {
  bool wanted = false;
  for (std::size_t page = span.first; page < span.end(); ++page) wanted |= region->states().finish(page, to);
  if (wanted) region->wake(span);
}

void append_page(std::vector<PageRun>& runs, const RegionUse& region, std::size_t page, PageState was, bool joins) {
  USERFAULT_CHECK(is_in_memory(was), "a run is made of pages that are not in memory");
  if (joins && !runs.empty() && &*runs.back().region == &*region && runs.back().span.end() == page &&
      runs.back().was == was) {
    ++runs.back().span.count;
  } else {
    runs.push_back({.region = region.share(), .span = {page, 1}, .was = was});
  }
}

// After the hiding: what was written until then shows, and nothing is written any more.
std::vector<PageRun> hide_and_look(const PageRun& run, Budget& budget) {
  USERFAULT_CHECK(run.was == PageState::kResident || run.was == PageState::kDirty, "a hidden page is hidden again");
  Region& region = *run.region;
  std::vector<PageRun> parts;
  if (!region.hide(run.span)) return parts;
  const std::vector<bool> written =
      run.was == PageState::kDirty ? std::vector<bool>(run.span.count, true) : region.find_written(run.span);
  for (std::size_t i = 0; i < run.span.count; ++i) {
    append_page(parts, run.region, run.span.first + i, written[i] ? PageState::kIdleDirty : PageState::kIdle, true);
    if (written[i] && run.was != PageState::kDirty) add_dirty(region.counters(), budget, region.page_size());
  }
  return parts;
}

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// Faults on managed pages that are in memory already: the first write to a page, a page that was
// hidden to see whether it is still used, one that the program dropped (MADV_DONTNEED) or removed
// (MADV_REMOVE), and messages that are older than the page.
#include <cerrno>

#include "pager/core.h"

namespace userfault::pager {

// The caller owns the page, which was in state `was`.
void Core::revive(const RegionUse& region, std::size_t page, PageState was, const Fault& fault,
                  const std::function<void()>& before_waiting) {
  const bool write = fault.write && region->writable();
  // The program has dropped it from the page table, and whether it was written before shows there alone.
  const bool found = region->scans() && was == PageState::kResident && region->find_written({page, 1})[0];
  const bool was_dirty = is_dirty(was) || found;
  const bool protect = region->writable() && !write && !was_dirty;
  Counters& counters = region->counters();
  int shown = fault.write_protect ? 0 : region->show(page, protect);
  // A kernel before 6.4 cannot show a page write-protected: it may be written from now on.
  const bool open = shown == EINVAL && protect;
  if (open) shown = region->show(page, false);
  if (shown == EFAULT) {
    mend(region, page, write || open || was_dirty, was, before_waiting);
    return;
  }
  if (shown != 0) {
    // It is as it was; the thread comes again, if it still can.
    if (region->states().finish(page, was)) region->wake({page, 1});
    region->wake({page, 1});
    return;
  }
  if (fault.write_protect || (write && was == PageState::kResident)) {
    counters.write_faults.add(1);
    region->allow_writes(page);
  } else if (is_idle(was)) {
    counters.revived.add(1);
  } else {
    counters.repeated.add(1);
  }
  const bool dirty = write || open || was_dirty;
  if (dirty && !is_dirty(was)) note_dirty(*region);
  (void)region->states().finish(page, dirty ? PageState::kDirty : PageState::kResident);
  // Whoever came meanwhile, and whoever found the page there: UFFDIO_CONTINUE wakes nobody then.
  region->wake({page, 1});
}

void Core::note_dirty(Region& region) {
  region.counters().dirty_bytes.add(region.page_size());
  budget_.add_dirty(region.page_size());
  if (budget_.too_dirty()) want_evictors();
}

// The program has removed the page, or a part of it, with MADV_REMOVE. What it had written goes with
// it, as from a file; the rest of a dirty page is still to be written. So the page keeps its memory: if
// it had to wait for some it would be anybody's meanwhile, and who fills it for a read calls it clean.
void Core::mend(const RegionUse& region, std::size_t page, bool dirty, PageState was,
                const std::function<void()>& before_waiting) {
  forget_content(*region, was);
  const FillOrder order{
      .span = {page, 1}, .demanded = page, .cause = Cause::kFault, .write = dirty, .mends = true, .since_ns = now_ns()};
  filler_.fill(region, order, before_waiting);
}

// The page does not count as in memory any more. Its memory stays taken.
void Core::forget_content(Region& region, PageState was) {
  if (is_dirty(was)) {
    region.counters().dirty_bytes.subtract(region.page_size());
    budget_.subtract_dirty(region.page_size());
  }
  region.counters().resident_bytes.subtract(region.page_size());
  budget_.subtract_resident(region.page_size());
}

}  // namespace userfault::pager

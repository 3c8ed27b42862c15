// SPDX-License-Identifier: Apache-2.0
#include "pager/refault.h"

#include <cerrno>

#include "base/check.h"
#include "pager/accounting.h"

namespace userfault::pager {

void RefaultHandler::resolve(const RegionUse& region, std::size_t page, PageState was, const Fault& fault,
                             const FaultContext& context) {
  USERFAULT_CHECK(region->managed(), "a page that only the program can drop is shown again");
  USERFAULT_CHECK(is_in_memory(was), "a page that is not in memory is shown again");
  // When the program has dropped it from the page table, the scan alone tells whether it was written before.
  const bool found = region->scans() && was == PageState::kResident && region->find_written({page, 1})[0];
  const Access access{.write = fault.write && region->writable(), .was_dirty = is_dirty(was) || found};
  bool open = false;
  const int shown = fault.write_protect ? 0 : show(*region, page, access, open);
  const bool dirty = access.write || access.was_dirty || open;
  if (shown == EFAULT) {
    fill_in_place(region, page, dirty, was, context);
    return;
  }
  if (shown != 0) {
    // It is as it was; the thread comes again, if it still can.
    (void)region->states().finish(page, was);
    region->wake({page, 1});
    return;
  }
  count(*region, was, fault, access);
  if (fault.write_protect || (access.write && was == PageState::kResident)) region->allow_writes(page);
  if (dirty && !is_dirty(was)) {
    add_dirty(region->counters(), budget_, region->page_size());
    if (budget_.too_dirty()) bell_.hint();
  }
  (void)region->states().finish(page, dirty ? PageState::kDirty : PageState::kResident);
  // The threads that came meanwhile, and those that found the page there: UFFDIO_CONTINUE wakes none then.
  region->wake({page, 1});
}

int RefaultHandler::show(Region& region, std::size_t page, const Access& access, bool& open) {
  const bool protect = region.writable() && !access.write && !access.was_dirty;
  const int shown = region.show(page, protect);
  // A kernel before 6.4 cannot show a page write-protected.
  open = shown == EINVAL && protect;
  return open ? region.show(page, false) : shown;
}

void RefaultHandler::count(Region& region, PageState was, const Fault& fault, const Access& access) {
  Counters& counters = region.counters();
  if (fault.write_protect || (access.write && was == PageState::kResident)) {
    counters.write_faults.add(1);
  } else if (is_idle(was)) {
    counters.revived.add(1);
  } else {
    counters.repeated.add(1);
  }
}

// The program has removed the page, or a part of it, with MADV_REMOVE. What it had written goes with
// it, as from a file; the rest of a dirty page is still to be written. So the page keeps its memory: while it
// waited for some any thread could claim it, and one that fills it for a read calls it clean.
void RefaultHandler::fill_in_place(const RegionUse& region, std::size_t page, bool dirty, PageState was,
                                   const FaultContext& context) {
  forget_content(*region, was);
  FillOrder order = FillOrder::for_fault(page, dirty, context.since_ns());
  order.in_place = true;
  filler_.fill(region, order, context);
}

void RefaultHandler::forget_content(Region& region, PageState was) {
  if (is_dirty(was)) subtract_dirty(region.counters(), budget_, region.page_size());
  subtract_resident(region.counters(), budget_, region.page_size());
}

}  // namespace userfault::pager

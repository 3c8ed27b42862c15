// SPDX-License-Identifier: Apache-2.0
#include "engine/user/fault/classify.h"

#include <sys/mman.h>

#include "engine/user/rt/check.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

bool is_shared(Kind kind) noexcept { return kind == Kind::kShared || kind == Kind::kHugeShared; }
bool is_huge(Kind kind) noexcept { return kind == Kind::kHugeConverted || kind == Kind::kHugeShared; }

// Whether the fault may be handed to a monitor, or to the faulting thread itself.
Step report(const PageFacts& page, const MemoryAccess& access, Step message) noexcept {
  USERFAULT_INVARIANT(is_report(message) && page.registered, "a fault was decided to be reported to no descriptor");
  const bool sigbus = (page.features & USERFAULT_FEATURE_SIGBUS) != 0;
  if (access.by_kernel && (page.user_mode_only || sigbus)) return Step::kRefused;
  return sigbus && !page.in_thread ? Step::kRefused : message;
}

Step classify_missing(const PageFacts& page, const MemoryAccess& access) noexcept {
  if (page.state.is_open() && !(access.write && page.state.is_read_only())) return Step::kNone;
  if (!page.registered) return Step::kOpen;
  const Presence cached = is_shared(page.kind) ? page.look_up(*page.extent, page.page_index) : Presence::kAbsent;
  // Out of memory; neither kind of message, and no page of zeroes, may be guessed.
  if (cached == Presence::kUnknown) return Step::kUnavailable;
  const bool minor = cached == Presence::kPresent;
  if ((page.modes & (minor ? USERFAULT_REGISTER_MODE_MINOR : USERFAULT_REGISTER_MODE_MISSING)) == 0) return Step::kOpen;
  return report(page, access, minor ? Step::kReportMinor : Step::kReportMissing);
}

Step classify_present(const PageFacts& page, const MemoryAccess& access) noexcept {
  if (!page.state.is_open()) return Step::kReopen;
  if (!access.write) return Step::kNone;
  if (!is_mark_valid(page.state, page.modes)) return page.state.is_read_only() ? Step::kMakeWritable : Step::kNone;
  if ((page.features & USERFAULT_FEATURE_WP_ASYNC) != 0) return Step::kWriteThrough;
  return report(page, access, Step::kReportProtected);
}

// The state of a page that was opened, with or without permission to write.
PageState opened(const PageFacts& page, bool protect) noexcept {
  const bool narrow = protect && (page.protection & PROT_WRITE) != 0;
  const PageState shown = PageState(PageContent::kPresent).mapped(narrow);
  return shown.with_protection(page.state.is_write_protected());
}

// The state once the handler has taken a step that no monitor hears of (handler.cc).
PageState state_after(Step step, const PageFacts& page) noexcept {
  // Without the mode an access to a missing page takes the mark away; of huge pages it stays.
  const bool keeps_mark = is_huge(page.kind) || (page.modes & USERFAULT_REGISTER_MODE_WP) != 0;
  const bool marked = keeps_mark && page.state.is_write_protected();
  switch (step) {
    case Step::kOpen: return opened(page, marked).with_protection(marked);
    case Step::kReopen: return opened(page, is_mark_valid(page.state, page.modes));
    case Step::kMakeWritable: return page.state.with_read_only(false);
    case Step::kWriteThrough: return page.state.with_read_only(false).with_protection(false);
    default: return page.state;
  }
}

bool is_quiet(Step step) noexcept { return step >= Step::kOpen && step <= Step::kWriteThrough; }

}  // namespace

bool permits(int protection, const MemoryAccess& access) noexcept {
  if (access.fetch) return (protection & PROT_EXEC) != 0;
  if (access.write) return (protection & PROT_WRITE) != 0;
  return (protection & (PROT_READ | PROT_WRITE | PROT_EXEC)) != 0;
}

PageFacts facts_of(const Area& area, std::size_t page_index) noexcept {
  USERFAULT_INVARIANT(area.extent != nullptr, "an area has no pages");
  USERFAULT_INVARIANT(page_index >= area.first && page_index - area.first < area.pages(),
                      "a fault was decided for a page outside of its area");
  PageFacts page{.state = area.state(page_index).load(),
                 .kind = area.extent->kind,
                 .modes = area.modes,
                 .protection = area.protection,
                 .look_up = look_up_cached,
                 .extent = area.extent,
                 .page_index = page_index};
  if (area.instance == nullptr) return page;
  page.registered = true;
  page.features = area.instance->features;
  page.user_mode_only = area.instance->user_mode_only;
  page.in_thread = has_in_thread(*area.instance);
  return page;
}

Step classify(const PageFacts& page, const MemoryAccess& access) noexcept {
  USERFAULT_INVARIANT(page.registered || page.modes == 0, "an area has modes and no instance");
  if (!permits(page.protection, access)) return Step::kForbidden;
  switch (page.state.content()) {
    case PageContent::kMissing: return classify_missing(page, access);
    case PageContent::kPresent: return classify_present(page, access);
    case PageContent::kPoisoned: return Step::kPoisoned;
    case PageContent::kBusy: break;
  }
  return Step::kWait;
}

Foresight foresee(PageFacts page, const MemoryAccess& access) noexcept {
  Foresight result{.first = classify(page, access)};
  result.last = result.first;
  // Opening, reopening, then lifting the protection: no access takes more steps.
  for (int steps = 0; is_quiet(result.last); ++steps) {
    USERFAULT_INVARIANT(steps < 3, "the steps of an access lead in a circle");
    page.state = state_after(result.last, page);
    result.last = classify(page, access);
  }
  USERFAULT_INVARIANT(result.last == Step::kNone || result.last >= Step::kReportMissing || result.last == Step::kWait,
                      "an access leads to a step that is not the last");
  return result;
}

}  // namespace userfault::engine::user

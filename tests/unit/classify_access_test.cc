// SPDX-License-Identifier: Apache-2.0
// What an access needs (fault/classify.h), over every combination of what it depends on. The expectation is written
// down once more here, without the mapping's bits: what a program sees must not depend on how the engine's mappings
// happen to look.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#include "engine/user/fault/classify.h"

namespace userfault::engine::user {
namespace {

constexpr std::uint32_t kMissingMode = USERFAULT_REGISTER_MODE_MISSING;
constexpr std::uint32_t kWpMode = USERFAULT_REGISTER_MODE_WP;
constexpr std::uint32_t kMinorMode = USERFAULT_REGISTER_MODE_MINOR;
constexpr Kind kKinds[] = {Kind::kNative,        Kind::kConverted,  Kind::kShared,
                           Kind::kHugeConverted, Kind::kHugeShared, Kind::kFile};

Presence in_cache(const Extent& /*extent*/, std::size_t answer) noexcept { return static_cast<Presence>(answer); }
Presence must_not_be_asked(const Extent& /*extent*/, std::size_t /*index*/) noexcept {
  ADD_FAILURE() << "the page cache was asked, whose answer cannot matter";
  return Presence::kUnknown;
}

struct Case {
  PageFacts page;
  MemoryAccess access;
};

std::string text_of(const Case& at) {
  const PageFacts& page = at.page;
  std::string text = "kind " + std::to_string(static_cast<int>(page.kind)) + " state " +
                     std::to_string(page.state.bits()) + " modes " + std::to_string(page.modes) + " protection " +
                     std::to_string(page.protection) + " features " + std::to_string(page.features) + " cached " +
                     std::to_string(page.page_index);
  if (page.registered) text += " registered";
  if (page.user_mode_only) text += " user-mode-only";
  if (page.in_thread) text += " in-thread";
  if (at.access.write) text += " write";
  if (at.access.fetch) text += " fetch";
  if (at.access.by_kernel) text += " by-kernel";
  return text;
}

// The protection of a page that is not there has a mapping that is read-only; other combinations do not exist, but
// must not lead anywhere bad either, so all are visited.
template <typename Visit>
void visit_accesses(PageFacts page, Visit visit) {
  for (const bool by_kernel : {false, true}) {
    visit(Case{page, {.by_kernel = by_kernel}});
    visit(Case{page, {.write = true, .by_kernel = by_kernel}});
    visit(Case{page, {.fetch = true, .by_kernel = by_kernel}});
  }
}

template <typename Visit>
void visit_instances(PageFacts page, Visit visit) {
  page.registered = false;
  page.modes = 0;
  visit_accesses(page, visit);
  page.registered = true;
  for (const std::uint32_t modes :
       {0U, kMissingMode, kWpMode, kMinorMode, kMissingMode | kWpMode, kMissingMode | kMinorMode, kWpMode | kMinorMode,
        kMissingMode | kWpMode | kMinorMode})
    for (unsigned bits = 0; bits < 16; ++bits) {
      page.modes = modes;
      page.features =
          ((bits & 1) != 0 ? USERFAULT_FEATURE_SIGBUS : 0) | ((bits & 2) != 0 ? USERFAULT_FEATURE_WP_ASYNC : 0);
      page.user_mode_only = (bits & 4) != 0;
      page.in_thread = (bits & 8) != 0;
      visit_accesses(page, visit);
    }
}

// All states of a byte's six bits, all kinds, protections, registrations and accesses: about four million.
template <typename Visit>
void visit_all(Visit visit) {
  static Extent extent;
  for (const Kind kind : kKinds)
    for (unsigned state = 0; state < 64; ++state)
      for (const int protection : {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC})
        for (const Presence cached : {Presence::kAbsent, Presence::kPresent, Presence::kUnknown}) {
          PageFacts page{.state = PageState::of_bits(static_cast<PageState::Parts>(state)),
                         .kind = kind,
                         .protection = protection};
          page.look_up = in_cache;
          page.extent = &extent;
          page.page_index = static_cast<std::size_t>(cached);
          visit_instances(page, visit);
        }
}

// ---- the expectation: what a program sees ----

bool is_allowed(const Case& at) {
  if (at.access.fetch) return (at.page.protection & PROT_EXEC) != 0;
  return at.page.protection != PROT_NONE && (!at.access.write || (at.page.protection & PROT_WRITE) != 0);
}

bool is_shared(const PageFacts& page) { return page.kind == Kind::kShared || page.kind == Kind::kHugeShared; }

Step reported(const Case& at, Step step) {
  const bool sigbus = (at.page.features & USERFAULT_FEATURE_SIGBUS) != 0;
  const bool kernel_fails = at.access.by_kernel && (at.page.user_mode_only || sigbus);
  return kernel_fails || (sigbus && !at.page.in_thread) ? Step::kRefused : step;
}

Step expected_of_present(const Case& at) {
  const bool protects = at.page.state.is_write_protected() && (at.page.modes & kWpMode) != 0;
  const bool async = (at.page.features & USERFAULT_FEATURE_WP_ASYNC) != 0;
  return at.access.write && protects && !async ? reported(at, Step::kReportProtected) : Step::kNone;
}

// Where the access ends once all that no monitor hears of is done.
Step expected_end(const Case& at) {
  if (!is_allowed(at)) return Step::kForbidden;
  switch (at.page.state.content()) {
    case PageContent::kPoisoned: return Step::kPoisoned;
    case PageContent::kBusy: return Step::kWait;
    case PageContent::kPresent: return expected_of_present(at);
    case PageContent::kMissing: break;
  }
  if (!at.page.registered) return Step::kNone;
  const auto cached = is_shared(at.page) ? static_cast<Presence>(at.page.page_index) : Presence::kAbsent;
  if (cached == Presence::kUnknown) return Step::kUnavailable;
  if (cached == Presence::kPresent && (at.page.modes & kMinorMode) != 0) return reported(at, Step::kReportMinor);
  if (cached == Presence::kAbsent && (at.page.modes & kMissingMode) != 0) return reported(at, Step::kReportMissing);
  return expected_of_present(at);
}

// A missing page whose mapping is open is one that nothing tracks: the access passes, whatever the modes say.
bool passes_untracked(const Case& at) {
  return at.page.state.is_untracked() && (!at.access.write || !at.page.state.is_read_only());
}

// A page that is there, write-protected and yet writable in its mapping does not exist: whoever protects takes the
// mapping's permission first (ops/write_protect.cc).
bool is_consistent(const Case& at) {
  const PageState state = at.page.state;
  return !state.is_write_protected() || !state.is_open() || state.is_read_only();
}

void expect(bool holds, const Case& at, const char* what, int& failures) {
  if (holds || ++failures > 10) return;
  ADD_FAILURE() << what << ": " << text_of(at);
}

TEST(ClassifyAccess, EndsWhereTheProgramMaySee) {
  int failures = 0;
  std::size_t cases = 0;
  visit_all([&](const Case& at) {
    if (!is_consistent(at)) return;
    ++cases;
    const Step last = foresee(at.page, at.access).last;
    const Step want = passes_untracked(at) && is_allowed(at) ? Step::kNone : expected_end(at);
    expect(last == want, at, "the access ends elsewhere", failures);
  });
  EXPECT_EQ(failures, 0);
  EXPECT_GT(cases, 1'000'000U);
}

// The fault handler takes `first`, a system call is made once `last` lets it: if they disagreed the one would wait
// where the other fails.
TEST(ClassifyAccess, ASystemCallFailsExactlyWhereTheHandlerWould) {
  int failures = 0;
  visit_all([&](const Case& at) {
    const Foresight steps = foresee(at.page, at.access);
    expect(steps.first == classify(at.page, at.access), at, "the first step is another one", failures);
    if (is_failure(steps.first) || is_report(steps.first) || steps.first == Step::kWait || steps.first == Step::kNone)
      expect(steps.first == steps.last, at, "something follows a last step", failures);
    else
      expect(steps.last == Step::kNone || is_report(steps.last) || steps.last == Step::kRefused, at,
             "a step that no monitor hears of leads to a failure of its own", failures);
  });
  EXPECT_EQ(failures, 0);
}

TEST(ClassifyAccess, TheMappingChangesNothingOfAPageThatIsThere) {
  int failures = 0;
  visit_all([&](Case at) {
    if (!at.page.state.is_present() || !is_consistent(at)) return;
    const Step last = foresee(at.page, at.access).last;
    at.page.state = at.page.state.only(PageState::kContent | PageState::kWriteProtected);
    expect(foresee(at.page, at.access).last == last, at, "the mapping decides what the program sees", failures);
  });
  EXPECT_EQ(failures, 0);
}

TEST(ClassifyAccess, NothingIsLeftToDoOnlyWhereTheMappingLetsTheAccessPass) {
  int failures = 0;
  visit_all([&](const Case& at) {
    if (!is_consistent(at) || classify(at.page, at.access) != Step::kNone) return;
    expect(at.page.state.is_open() && (!at.access.write || !at.page.state.is_read_only()), at,
           "the access would fault again", failures);
  });
  EXPECT_EQ(failures, 0);
}

// A monitor hears of a fault only through the mode that it registered for.
TEST(ClassifyAccess, ReportsOnlyWhatTheModeAsksFor) {
  int failures = 0;
  visit_all([&](const Case& at) {
    const Step step = classify(at.page, at.access);
    if (!is_report(step)) return;
    const std::uint32_t mode = step == Step::kReportMissing ? kMissingMode
                               : step == Step::kReportMinor ? kMinorMode
                                                            : kWpMode;
    expect((at.page.modes & mode) != 0, at, "reported without the mode", failures);
    expect(step != Step::kReportProtected || at.access.write, at, "a read was stopped by write protection", failures);
    expect(!at.access.by_kernel || !at.page.user_mode_only, at, "UFFD_USER_MODE_ONLY, and it waits", failures);
  });
  EXPECT_EQ(failures, 0);
}

TEST(ClassifyAccess, AsksThePageCacheOnlyForMissingSharedMemory) {
  for (const Kind kind : {Kind::kNative, Kind::kConverted, Kind::kHugeConverted, Kind::kFile}) {
    const PageFacts page{
        .kind = kind, .modes = kMissingMode, .protection = PROT_READ, .registered = true, .look_up = must_not_be_asked};
    EXPECT_EQ(classify(page, {}), Step::kReportMissing);
  }
  PageFacts shared{.kind = Kind::kShared, .protection = PROT_READ, .look_up = must_not_be_asked};
  EXPECT_EQ(classify(shared, {}), Step::kOpen) << "without an instance both answers are opened";
  shared.registered = true;
  shared.state = PageState().mapped(false);
  EXPECT_EQ(classify(shared, {}), Step::kNone);
  shared.state = PageState(PageContent::kPresent).mapped(false);
  EXPECT_EQ(classify(shared, {}), Step::kNone);
}

// Registered for write protection, protected, and registered again for missing pages alone: the mark stays and means
// nothing, so that neither a store nor a system call may fail or wait.
TEST(ClassifyAccess, AMarkWithoutItsModeStopsNoSystemCall) {
  const PageFacts page{.state = PageState(PageContent::kPresent).mapped(true).with_protection(true),
                       .kind = Kind::kConverted,
                       .modes = kMissingMode,
                       .protection = PROT_READ | PROT_WRITE,
                       .registered = true,
                       .user_mode_only = true};
  const Foresight steps = foresee(page, {.write = true, .by_kernel = true});
  EXPECT_EQ(steps.first, Step::kMakeWritable);
  EXPECT_EQ(steps.last, Step::kNone);
}

TEST(ClassifyAccess, AnAreaWithModesAndNoInstanceAborts) {
  const PageFacts page{.modes = kMissingMode, .protection = PROT_READ};
  EXPECT_DEATH(static_cast<void>(classify(page, {})), "broken invariant: an area has modes and no instance");
}

}  // namespace
}  // namespace userfault::engine::user

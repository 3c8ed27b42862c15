// SPDX-License-Identifier: Apache-2.0
// The state of a page: every state, every predicate, every transition; and that a transition from a state in which it
// cannot happen ends the process.
#include <gtest/gtest.h>

#include <csignal>
#include <vector>

#include "engine/user/memory/page_state.h"

namespace userfault::engine::user {
namespace {

std::vector<PageState> all_states() {
  std::vector<PageState> states;
  for (unsigned bits = 0; bits < 64; ++bits) {
    const PageState state = PageState::of_bits(static_cast<PageState::Parts>(bits));
    // What is not mapped has neither a guard page nor a narrower protection.
    if (state.is_mapped() || (!state.is_guarded() && !state.is_read_only())) states.push_back(state);
  }
  return states;
}

TEST(PageState, BeginsMissingAndUnmapped) {
  const PageState state;
  EXPECT_TRUE(state.is_missing());
  EXPECT_FALSE(state.is_mapped());
  EXPECT_FALSE(state.is_untracked());
  EXPECT_EQ(state.bits(), 0);
}

TEST(PageState, HasOneContent) {
  for (const PageState state : all_states()) {
    const int contents = state.is_missing() + state.is_present() + state.is_busy() + state.is_poisoned();
    EXPECT_EQ(contents, 1) << int{state.bits()};
  }
}

TEST(PageState, PredicatesAreWhatTheirNamesSay) {
  for (const PageState state : all_states()) {
    EXPECT_EQ(state.is_open(), state.is_mapped() && !state.is_guarded());
    EXPECT_EQ(state.is_untracked(), state.is_missing() && state.is_open());
    EXPECT_EQ(state.is_marker(), state.is_poisoned() || (state.is_missing() && state.is_write_protected()));
    EXPECT_EQ(state.only(PageState::kContent), PageState(state.content()));
  }
}

TEST(PageState, AClaimIsFinishedOrGoesBack) {
  for (const PageState state : all_states()) {
    if (!state.is_missing() && !state.is_poisoned()) continue;
    const PageState busy = state.claimed();
    EXPECT_TRUE(busy.is_busy());
    EXPECT_EQ(busy.finished(state.content(), state.is_write_protected()), state);
    for (const bool protect : {false, true}) {
      const PageState present = busy.finished(PageContent::kPresent, protect);
      EXPECT_TRUE(present.is_present());
      EXPECT_EQ(present.is_write_protected(), protect);
      EXPECT_EQ(present.is_mapped(), state.is_mapped());
    }
  }
}

TEST(PageState, AMappingIsOpenedGuardedAndTakenAway) {
  for (const PageState state : all_states()) {
    if (state.is_mapped()) continue;
    EXPECT_EQ(state.mapped_behind_guard().without_guard(), state.mapped(false));
    EXPECT_EQ(state.mapped(false).with_guard(), state.mapped_behind_guard());
    EXPECT_EQ(state.mapped(false).with_read_only(true), state.mapped(true));
    EXPECT_EQ(state.mapped(true).unmapped(), state);
    EXPECT_EQ(state.mapped_behind_guard().unmapped(), state);
    EXPECT_EQ(state.mapped(false).content(), state.content());
  }
}

// Also in release. The state is not a constant, or the compiler would find out.
TEST(PageStateDeathTest, WhatCannotHappenEndsTheProcess) {
  const auto killed = testing::KilledBySignal(SIGABRT);
  volatile PageState::Parts none = 0;
  const PageState missing = PageState::of_bits(none);
  const PageState present = missing.with_content(PageContent::kPresent);
  EXPECT_EXIT(static_cast<void>(present.claimed()), killed, "a page was claimed that has content or an owner");
  EXPECT_EXIT(static_cast<void>(missing.claimed().claimed()), killed,
              "a page was claimed that has content or an owner");
  EXPECT_EXIT(static_cast<void>(present.finished(PageContent::kPresent, false)), killed,
              "a page was finished that its caller does not own");
  EXPECT_EXIT(static_cast<void>(missing.claimed().finished(PageContent::kBusy, false)), killed,
              "a page was finished and is busy still");
  EXPECT_EXIT(static_cast<void>(missing.claimed().with_content(PageContent::kMissing)), killed,
              "a page is busy while Space::lock is held exclusively");
  EXPECT_EXIT(static_cast<void>(missing.mapped(false).mapped(false)), killed, "a page was mapped twice");
  EXPECT_EXIT(static_cast<void>(missing.unmapped()), killed, "a page was unmapped twice");
  EXPECT_EXIT(static_cast<void>(missing.mapped(false).without_guard()), killed, "a guard page was removed");
  EXPECT_EXIT(static_cast<void>(missing.with_guard()), killed, "a guard page was installed");
  EXPECT_EXIT(static_cast<void>(missing.with_read_only(true)), killed, "the protection of a page was changed");
}

TEST(AtomicPageState, ChangesInOneStepAndTellsWhatIsThere) {
  AtomicPageState state;
  PageState seen = PageState(PageContent::kPresent);
  EXPECT_FALSE(state.try_change(seen, PageState(PageContent::kPoisoned)));
  EXPECT_TRUE(seen.is_missing());
  EXPECT_TRUE(state.try_change(seen, seen.claimed()));
  state.update([](PageState page) { return page.with_protection(true); });
  EXPECT_TRUE(state.load().is_busy());
  EXPECT_TRUE(state.load().is_write_protected());
}

}  // namespace
}  // namespace userfault::engine::user

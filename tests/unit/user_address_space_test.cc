// SPDX-License-Identifier: Apache-2.0
// The table of areas by itself, and that what would break it ends the process instead.
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "engine/user/memory/address_space.h"
#include "engine/user/memory/page_runs.h"

namespace userfault::engine::user {
namespace {

constexpr std::uintptr_t kBase = std::uintptr_t{1} << 40;
constexpr std::uintptr_t page_address(std::size_t page) { return kBase + page * kPageSize; }

// A table of its own; nothing is mapped where its areas are.
class AddressSpace : public testing::Test {
 protected:
  AddressSpace() {
    table_.lock.lock();
    extent_ = make_extent(Kind::kNative, 64, kPageShift);
    hold(extent_);
  }
  ~AddressSpace() override {
    table_.erase(0, kLastAddress);
    table_.lock.unlock();
    drop(extent_);
  }

  [[nodiscard]] Area pages(std::size_t first, std::size_t count) const {
    return {.start = page_address(first), .end = page_address(first + count), .extent = extent_, .first = first};
  }
  [[nodiscard]] std::vector<std::size_t> borders() {
    std::vector<std::size_t> found;
    for (const Area* area = table_.begin(); area != table_.end(); ++area) {
      found.push_back((area->start - kBase) / kPageSize);
      found.push_back((area->end - kBase) / kPageSize);
    }
    return found;
  }

  Space table_;
  Extent* extent_ = nullptr;
};

TEST_F(AddressSpace, IsSortedWhateverTheOrder) {
  ASSERT_EQ(table_.insert(pages(8, 4)), 0);
  ASSERT_EQ(table_.insert(pages(0, 2)), 0);
  ASSERT_EQ(table_.insert(pages(2, 6)), 0);
  EXPECT_EQ(borders(), (std::vector<std::size_t>{0, 2, 2, 8, 8, 12}));
  EXPECT_EQ(table_.find(page_address(7))->start, page_address(2));
  EXPECT_EQ(table_.find(page_address(12)), nullptr);
  EXPECT_EQ(table_.first_ending_after(page_address(11)), table_.begin() + 2);
  EXPECT_EQ(table_.first_ending_after(page_address(12)), table_.end());
}

TEST_F(AddressSpace, ASplitAreaShowsTheSamePages) {
  ASSERT_EQ(table_.insert(pages(0, 8)), 0);
  ASSERT_EQ(table_.split(page_address(3)), 0);
  ASSERT_EQ(table_.split(page_address(3)), 0);
  EXPECT_EQ(borders(), (std::vector<std::size_t>{0, 3, 3, 8}));
  EXPECT_EQ(table_.at(page_address(5)).page_at(page_address(5)), 5u);
  EXPECT_EQ(extent_->references, 3);
  table_.erase(page_address(3), page_address(8));
  EXPECT_EQ(borders(), (std::vector<std::size_t>{0, 3}));
  EXPECT_EQ(extent_->references, 2);
}

TEST_F(AddressSpace, AHugePageIsNotSplit) {
  Extent* huge = make_extent(Kind::kHugeShared, 2, 21);
  ASSERT_EQ(table_.insert({.start = kBase, .end = kBase + (std::uintptr_t{2} << 21), .extent = huge}), 0);
  EXPECT_EQ(table_.split(page_address(1)), -EINVAL);
  EXPECT_EQ(table_.split(kBase + (std::uintptr_t{1} << 21)), 0);
}

TEST_F(AddressSpace, RunsAreTheLongestThatAgree) {
  const Area area = pages(0, 8);
  for (const std::size_t index : {2u, 3u, 7u}) area.state(index).store(PageState(PageContent::kPresent));
  std::vector<std::size_t> found;
  EXPECT_EQ(visit_runs(area, all_pages(area), PageState::kContent,
                       [&](PageRun run, PageState state) {
                         found.push_back(run.count * (state.is_present() ? 100 : 1));
                         return 0;
                       }),
            0);
  EXPECT_EQ(found, (std::vector<std::size_t>{2, 200, 3, 100}));
  EXPECT_EQ(visit_runs(area, all_pages(area), PageState::kContent, [](PageRun, PageState) { return -EIO; }), -EIO);
}

using AddressSpaceDeathTest = AddressSpace;

TEST_F(AddressSpaceDeathTest, WhatWouldBreakTheTableEndsTheProcess) {
  const auto killed = testing::KilledBySignal(SIGABRT);
  ASSERT_EQ(table_.insert(pages(4, 4)), 0);
  EXPECT_EXIT(static_cast<void>(table_.insert(pages(2, 3))), killed, "an area overlaps the one behind it");
  EXPECT_EXIT(static_cast<void>(table_.insert(pages(7, 3))), killed, "an area overlaps the one behind it");
  EXPECT_EXIT(static_cast<void>(table_.insert(pages(9, 0))), killed, "an area was inserted that is empty");
  EXPECT_EXIT(static_cast<void>(table_.insert(pages(60, 5))), killed, "its extent is short of");
  EXPECT_EXIT(table_.erase(page_address(5), page_address(8)), killed, "erased from the middle of one on");
  EXPECT_EXIT(table_.erase(page_address(4), page_address(6)), killed, "erased to the middle of one");
  EXPECT_EXIT(static_cast<void>(table_.at(page_address(9))), killed, "there is no area where its caller knows of one");
  EXPECT_EXIT(static_cast<void>(table_.at(page_address(4)).page_at(page_address(8))), killed, "a page outside of it");
}

TEST_F(AddressSpaceDeathTest, TheTableWantsItsLock) {
  Space unlocked;
  EXPECT_EXIT(static_cast<void>(unlocked.find(kBase)), testing::KilledBySignal(SIGABRT), "read without its lock");
  unlocked.lock.lock_shared();
  EXPECT_EQ(unlocked.find(kBase), nullptr);
  EXPECT_EXIT(static_cast<void>(unlocked.insert(pages(0, 1))), testing::KilledBySignal(SIGABRT),
              "changed without its lock");
  unlocked.lock.unlock_shared();
  EXPECT_EXIT(unlocked.lock.unlock_shared(), testing::KilledBySignal(SIGABRT), "released that no thread holds");
  EXPECT_EXIT(unlocked.lock.unlock(), testing::KilledBySignal(SIGABRT), "released that no thread holds");
  EXPECT_EXIT(Mutex().unlock(), testing::KilledBySignal(SIGABRT), "unlocked that no thread holds");
}

TEST_F(AddressSpaceDeathTest, AnExtentIsDroppedAsOftenAsItWasHeld) {
  Extent* extent = make_extent(Kind::kNative, 4, kPageShift);
  EXPECT_EXIT(drop(extent), testing::KilledBySignal(SIGABRT), "dropped more often than held");
  hold(extent);
  EXPECT_EXIT(finish_busy(*extent, {0, 1}, PageContent::kPresent, false), testing::KilledBySignal(SIGABRT),
              "finished that its caller does not own");
  EXPECT_EXIT(finish_busy(*extent, {3, 2}, PageContent::kPresent, false), testing::KilledBySignal(SIGABRT),
              "finished that their extent does not have");
  drop(extent);
}

}  // namespace
}  // namespace userfault::engine::user

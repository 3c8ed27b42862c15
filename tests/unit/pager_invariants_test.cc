// SPDX-License-Identifier: Apache-2.0
// What cannot happen inside the pager aborts, and says what was broken; each check over the misuse that it is
// there for. And the counts that are taken back.
#include <gtest/gtest.h>
#include <pthread.h>

#include <csignal>
#include <memory>
#include <thread>

#include "pager/budget.h"
#include "pager/busy_poll.h"
#include "pager/fault_context.h"
#include "pager/faults_in_service.h"
#include "pager/page_states.h"
#include "pager/pins.h"
#include "pager/reservation.h"
#include "pager/use_count.h"
#include "support/bounded.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"

namespace userfault::pager {
namespace {

#define EXPECT_BROKEN(statement, what) \
  EXPECT_EXIT(statement, testing::KilledBySignal(SIGABRT), "userfault: broken invariant: " what)

TEST(PagerInvariantsDeathTest, APageHasOneOwnerAndOneLastStep) {
  PageStates states(4);
  ASSERT_TRUE(states.claim(1));
  EXPECT_BROKEN((void)states.finish(0, PageState::kResident), "a page is finished by a thread that does not own it");
  EXPECT_BROKEN((void)states.finish(1, PageState::kOwned), "a page's last step leads nowhere");
  EXPECT_BROKEN((void)states.claim(1, PageState::kOwned), "a page is claimed from its owner");
  EXPECT_BROKEN((void)states.claim(1, PageState::kMapped), "a page that shows the store's file is claimed");
  EXPECT_BROKEN((void)states.get(4), "a page lies outside of its region");
  EXPECT_FALSE(states.finish(1, PageState::kResident));
  EXPECT_BROKEN((void)states.finish(1, PageState::kAbsent), "a page is finished by a thread that does not own it");
}

TEST(PagerInvariantsDeathTest, TheBudgetIsNeverBelowZeroOrAboveItsLimit) {
  Budget budget(100, 0);
  ASSERT_EQ(budget.try_take(3, 30), 3u);
  budget.add_resident(90);
  EXPECT_BROKEN(budget.give_back(91), "more memory is given back to the budget than was taken");
  EXPECT_BROKEN(budget.add_resident(11), "more is in memory than the budget allows");
  EXPECT_BROKEN(budget.subtract_resident(91), "more memory goes than was resident");
  EXPECT_BROKEN(budget.subtract_dirty(1), "more becomes clean than was dirty");
  EXPECT_BROKEN(budget.unpin(1), "more is unpinned than was pinned");
  budget.subtract_resident(90);
  budget.give_back(90);
  EXPECT_EQ(budget.try_take(9, 30), 3u);
}

TEST(PagerInvariantsDeathTest, AReservationIsCommittedOnceOrUndone) {
  Budget budget(100, 0);
  Counters counters;
  const Reservation::Amounts amounts{
      .pages = 2, .bytes = 20, .zero_pages = 2, .mapped_pages = 1, .resident_bytes = 32, .dirty_bytes = 16};
  const auto counted = [&] {
    return std::array{counters.pages_by_fault.get(),
                      counters.bytes_by_fault.get(),
                      counters.zero_pages.get(),
                      counters.mapped_pages.get(),
                      counters.resident_bytes.get(),
                      counters.dirty_bytes.get(),
                      budget.resident()};
  };
  {
    const Reservation undone(counters, budget, amounts);
    EXPECT_EQ(counted(), (std::array<std::uint64_t, 7>{2, 20, 2, 1, 32, 16, 32})) << "counted before it is done";
  }
  EXPECT_EQ(counted(), (std::array<std::uint64_t, 7>{})) << "and taken back";
  {
    Reservation kept(counters, budget, amounts);
    kept.commit();
    EXPECT_BROKEN(kept.commit(), "a reservation is committed twice");
  }
  EXPECT_EQ(counted(), (std::array<std::uint64_t, 7>{2, 20, 2, 1, 32, 16, 32}));
  EXPECT_BROKEN(Reservation(counters, budget, {}), "nothing is reserved");
  EXPECT_BROKEN(counters.faults.subtract(1), "more is taken from a counter than was counted");
}

TEST(PagerInvariantsDeathTest, WhatBeganEndsOnce) {
  UseEnded ended;
  UseCount uses(ended);
  uses.begin();
  uses.end();
  EXPECT_BROKEN(uses.end(), "the use of a region ends that never began");
  FaultsInService faults;
  faults.begin(2);
  EXPECT_BROKEN(faults.end(3), "more faults are answered than were read");
  Pins pins;
  EXPECT_BROKEN(pins.add({}), "no page at all is pinned");
  BusyPoll poll(2);
  const BusyPoll::Round round(poll);
  EXPECT_BROKEN((void)BusyPoll::Round(poll), "two threads poll as one");
}

TEST(PagerInvariantsDeathTest, ALeadIsTakenOnceAndHandedOverFromAnyDepth) {
  base::Mutex mutex;
  struct Worker final : CountedOn {
    explicit Worker(base::Mutex& mutex) : lead(mutex) {}
    void before_waiting() override { lead.hand_over(); }
    Lead lead;
  };
  Worker worker(mutex);
  Lead& lead = worker.lead;
  lead.take();
  EXPECT_BROKEN(lead.take(), "a worker takes the lead that it has");
  const FaultContext context(worker, 7);
  EXPECT_FALSE(context.may_wait());
  EXPECT_EQ(context.since_ns(), 7u);
  context.before_waiting();
  EXPECT_FALSE(lead.held());
  std::thread([&] {
    Lead next(mutex);
    next.take();
    EXPECT_TRUE(next.held());
  }).join();
  context.before_waiting();
  EXPECT_TRUE(FaultContext().may_wait());
}

}  // namespace
}  // namespace userfault::pager

namespace userfault::test {
namespace {

class PagerInvariants : public PagerOnEngine {};

// The contract says exactly once: the second answer would fill another read's buffer.
class StutteringStore final : public Store {
 public:
  std::uint64_t size() const override { return 4 * kPage; }
  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      request.answer(0, request.length);
      request.answer(0, request.length);
    }
  }
};

TEST_P(PagerInvariants, AStoreThatAnswersTwiceEndsTheProcess) {
  const ChildEnd end = run_in_child([](const Report&) {
    const Pager pager = make();
    const Mapping mapping = map(pager, std::make_shared<StutteringStore>());
    const volatile std::byte* const page = mapping.data();
    (void)*page;
  });
  EXPECT_TRUE(end.killed_by(SIGABRT)) << end.status;
}

// pthread_create(3) says EAGAIN where there is no memory for a stack. The doorbell has no one to answer it then.
TEST_P(PagerInvariants, APagerWithoutAThreadIsRefusedAndDoesNotHang) {
  expect_to_end([] {
    pthread_attr_t attributes;
    ASSERT_EQ(::pthread_attr_init(&attributes), 0);
    ASSERT_EQ(::pthread_attr_setstacksize(&attributes, std::size_t{1} << 46), 0);
    ASSERT_EQ(::pthread_setattr_default_np(&attributes), 0);
    const auto pager = Pager::create({.engine = GetParam()});
    ASSERT_FALSE(pager);
    EXPECT_EQ(pager.error().code, EAGAIN) << pager.error().message();
  });
}

USERFAULT_ON_BOTH_ENGINES(PagerInvariants);

}  // namespace
}  // namespace userfault::test

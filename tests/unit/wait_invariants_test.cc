// SPDX-License-Identifier: Apache-2.0
// What the queues and counts of a descriptor must never do ends the process with one line. A check that never fires
// proves nothing, so each is made to.
#include <gtest/gtest.h>

#include "engine/user/rt/seqlock.h"
#include "engine/user/wait/fault_queue.h"
#include "engine/user/wait/layout_events.h"
#include "engine/user/wait/readers.h"

namespace userfault::engine::user {
namespace {

TEST(WaitInvariants, AListKeepsItsOrderAndItsCount) {
  WaiterList list;
  Waiter first;
  Waiter second;
  Waiter third;
  for (Waiter* waiter : {&first, &second, &third}) list.append(waiter);
  EXPECT_EQ(list.count, 3U);
  list.remove(&second);
  EXPECT_EQ(first.next, &third);
  EXPECT_EQ(third.previous, &first);
  EXPECT_EQ(second.list, nullptr);
  list.remove(&first);
  list.remove(&third);
  EXPECT_EQ(list.count, 0U);
  EXPECT_EQ(list.head, nullptr);
  EXPECT_EQ(list.tail, nullptr);
}

TEST(WaitInvariants, AWaiterStandsInOneQueue) {
  WaiterList list;
  WaiterList other;
  Waiter waiter;
  EXPECT_DEATH(list.remove(&waiter), "broken invariant: a waiter was taken out of a queue that it does not stand in");
  list.append(&waiter);
  EXPECT_DEATH(list.append(&waiter), "broken invariant: a waiter was queued that stands in a queue");
  EXPECT_DEATH(other.append(&waiter), "broken invariant: a waiter was queued that stands in a queue");
  EXPECT_DEATH(other.remove(&waiter), "broken invariant: a waiter was taken out of a queue");
  list.count = 0;
  EXPECT_DEATH(list.remove(&waiter), "broken invariant: an empty queue has a waiter");
}

TEST(WaitInvariants, AThreadIsWokenOnce) {
  WaiterList list;
  Waiter waiter;
  waiter.address = 4096;
  waiter.state.store(Waiter::kWoken);
  list.append(&waiter);
  WakeUps wake_ups;
  EXPECT_DEATH(wake_all(list, 0, 8192, wake_ups), "broken invariant: a thread was woken twice for one fault");
}

TEST(WaitInvariants, LayoutChangesEndAsOftenAsTheyBegin) {
  static Instance instance;
  const std::uint32_t generation = begin_change(instance);
  end_change(instance, generation);
  EXPECT_EQ(instance.changing.load(), 0);
  EXPECT_DEATH(end_change(instance, generation), "broken invariant: a layout change ended that never began");
  end_change(instance, generation + 1);
  EXPECT_EQ(instance.changing.load(), 0) << "the change was another descriptor's";
}

TEST(WaitInvariants, AReaderIsCountedOnce) {
  static Instance instance;
  BlockingRead read;
  enter_reader(instance, read);
  EXPECT_EQ(instance.blocked_readers.load(), 1U);
  EXPECT_DEATH(enter_reader(instance, read), "broken invariant: a reader was counted twice");
  leave_reader(instance, read);
  EXPECT_EQ(instance.blocked_readers.load(), 0U);
  read.entered = true;
  EXPECT_DEATH(leave_reader(instance, read), "broken invariant: a reader left that was not counted");
}

TEST(WaitInvariants, ADescriptorInUseKeepsItsThreads) {
  static Instance instance;
  instance.used.store(true);
  EXPECT_DEATH(release_all(instance), "broken invariant: the threads of a descriptor were released that is in use");
  EXPECT_DEATH(wake_range(instance, 8192, 4096), "broken invariant: a range to wake ends before it starts");
}

TEST(WaitInvariants, ASequenceCountHasOneWriter) {
  SequenceCount count;
  EXPECT_DEATH(count.end_change(), "broken invariant: a change of what signal handlers read ended before it began");
  const std::uint32_t before = count.begin_reading();
  EXPECT_FALSE(count.has_changed(before));
  count.begin_change();
  EXPECT_TRUE(count.has_changed(before));
  EXPECT_DEATH(count.begin_change(), "broken invariant: two threads change what signal handlers read");
  count.end_change();
  EXPECT_EQ(count.begin_reading(), before + 2);
}

}  // namespace
}  // namespace userfault::engine::user

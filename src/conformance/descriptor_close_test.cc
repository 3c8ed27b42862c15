// SPDX-License-Identifier: Apache-2.0
// close(2) of the last copy ends it: threads go on, nothing is watched any more.
#include <unistd.h>

#include "support/events.h"
#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

CONFORMANCE_TEST(DescriptorClose, WaitingThreadsGoOnAndSeeZeros, "FD-03 REAL-22", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter read_already = expect_read_faults(uffd, map.page(0));
  Faulter unread = Faulter::write(map.page(1), 5);
  unread.expect_waiting();
  EXPECT_EQ(uffd.close(), 0);
  EXPECT_EQ(read_already.join().value, 0u);
  EXPECT_FALSE(unread.join().sigbus);
  expect_zero(map.page(0), map.page_size());
}

CONFORMANCE_TEST(DescriptorClose, NothingIsWatchedAfterIt, "FD-03", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  fill_page(uffd, map, 0, 4);
  uffd.close();
  expect_pattern(map.page(0), map.page_size(), 4);
  EXPECT_EQ(Faulter::read(map.page(1)).join().value, 0u);
  Uffd another(ctx);
  EXPECT_EQ(another.register_range(map.all(), kMissing).result, 0);
}

CONFORMANCE_TEST(DescriptorClose, ProtectionGoesWithIt, "FD-03", Backings::kAll) {
  ctx.require(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing | USERFAULT_REGISTER_MODE_WP);
  fill_page(uffd, map, 0, 4);
  ASSERT_EQ(uffd.writeprotect(map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  Faulter faulter =
      expect_write_faults(uffd, map.page(0), USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE, 6);
  uffd.close();
  faulter.join();
  EXPECT_EQ(touch_read(map.page(0)).value, 6u);
}

CONFORMANCE_TEST(DescriptorClose, OnlyTheLastCopyCounts, "FD-03", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  Uffd copy(::dup(uffd.fd()));
  ASSERT_GE(copy.fd(), 0);
  EXPECT_EQ(uffd.close(), 0);
  faulter.expect_waiting();
  Faulter second = expect_read_faults(copy, map.page(1));
  fill_page(copy, map, 1, 4);
  EXPECT_EQ(second.join().value, pattern_word(4, 0));
  EXPECT_EQ(copy.close(), 0);
  EXPECT_EQ(faulter.join().value, 0u);
}

// A copy in another process is a copy too.
CONFORMANCE_TEST(DescriptorClose, CopyInAnotherProcessKeepsItAlive, "FD-03 FD-04", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ChildProcess child([&](int socket) { receive_byte(socket); });
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.close();
  faulter.expect_waiting();
  send_byte(child.socket());
  child.join();
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(DescriptorClose, WhoWaitsForAnEventsReaderGoesOn, "FD-03 MSG-04", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_EVENT_UNMAP});
  uffd.must_register(map.all(), kMissing);
  Task unmapping([&] { EXPECT_EQ(userfault_munmap(map.page(0), map.size()), 0); });
  unmapping.expect_waiting_for_reader();
  uffd.close();
  unmapping.join();
}

CONFORMANCE_TEST(DescriptorClose, ClosedNumberIsNoDescriptor, "FD-03", Backings::kNone) {
  Uffd uffd(ctx);
  const int number = uffd.fd();
  EXPECT_EQ(uffd.close(), 0);
  EXPECT_EQ(userfault_close(number), -1);
  EXPECT_EQ(errno, EBADF);
  userfault_msg message;
  EXPECT_EQ(userfault_read(number, &message, sizeof message), -1);
  EXPECT_EQ(errno, EBADF);
  userfault_range range{};
  EXPECT_EQ(userfault_ioctl(number, USERFAULT_IOC_WAKE, &range), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(userfault_engine_of(number), -1);
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// The layout changes while a COPY is under way.
//
// To be in the middle of one without luck: its source is memory that is missing itself, registered
// with a second descriptor. The COPY stops at the source until that is filled, and what happens in
// between happens during the COPY. That takes an engine that reports accesses made by the kernel.
#include <sys/mman.h>

#include <cerrno>
#include <functional>

#include "support/test.h"

namespace userfault::conformance {
namespace {

// Runs `change` while COPY has begun to fill the map's page 1, and returns what COPY said.
Outcome copy_while(const Context& ctx, const Mapping& map, const Uffd& uffd, const std::function<void()>& change) {
  if (!ctx.kernel_faults)
    throw Skip(
        "needs a descriptor that reports accesses made by the kernel; USER_MODE_ONLY and the user engine do not");
  Context anonymous = ctx;
  anonymous.backing = Backing::kPrivateAnonymous;
  const Mapping source(anonymous, map.page_size() / 4096);
  const Uffd feeder(ctx);
  feeder.must_register(source.all(), kMissing);
  Outcome outcome;
  Task copier([&] { outcome = uffd.copy(map.range(1, 1), source.page(0)); });
  feeder.expect_fault(source.page(0), 0);
  copier.expect_waiting();
  change();
  const auto content = pattern(map.page_size(), 3);
  EXPECT_EQ(feeder.copy(source.all(), content.data()), Done(source.size()));
  copier.join();
  return outcome;
}

CONFORMANCE_TEST(LayoutRace, NothingChanges, "COPY-01 COPY-05", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  EXPECT_EQ(copy_while(ctx, map, uffd, [&] { faulter.expect_waiting(); }), Done(map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(3, 0));
  expect_pattern(map.page(1), map.page_size(), 3);
}

CONFORMANCE_TEST(LayoutRace, DestinationIsUnmapped, "GEN-09", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto unmap = [&] { ASSERT_EQ(userfault_munmap(map.page(1), map.page_size()), 0); };
  EXPECT_EQ(copy_while(ctx, map, uffd, unmap), Fails(ENOENT, -ENOENT));
}

CONFORMANCE_TEST(LayoutRace, DestinationIsUnregistered, "GEN-09", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto unregister = [&] { ASSERT_EQ(uffd.unregister(map.all()), Succeeds()); };
  EXPECT_EQ(copy_while(ctx, map, uffd, unregister), Fails(ENOENT, -ENOENT));
  expect_zero(map.page(1), map.page_size());
}

CONFORMANCE_TEST(LayoutRace, DestinationIsFilledByAnother, "COPY-04", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto fill = [&] { uffd.fill_with_zeros(map.range(1, 1)); };
  EXPECT_EQ(copy_while(ctx, map, uffd, fill), Fails(EEXIST, -EEXIST));
  expect_zero(map.page(1), map.page_size());
}

// An event that is not over by the time the COPY goes on stops it too.
CONFORMANCE_TEST(LayoutRace, EventIsRaised, "GEN-09 REAL-09", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_EVENT_REMOVE});
  uffd.must_register(map.all(), kMissing);
  const auto drop = [&] {
    Task dropper([&] { (void)userfault_madvise(map.page(2), map.page_size(), MADV_DONTNEED); });
    pollfd entry{uffd.fd(), POLLIN, 0};
    EXPECT_EQ(userfault_poll(&entry, 1, 10000), 1);
  };
  EXPECT_EQ(copy_while(ctx, map, uffd, drop), Fails(EAGAIN, -EAGAIN));
  EXPECT_EQ(uffd.next_message().event, USERFAULT_EVENT_REMOVE);
}

}  // namespace
}  // namespace userfault::conformance

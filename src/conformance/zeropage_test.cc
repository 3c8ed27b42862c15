// SPDX-License-Identifier: Apache-2.0
// UFFDIO_ZEROPAGE.
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

CONFORMANCE_TEST(Zeropage, FillsWithZerosAndNothingElse, "ZERO-01 GEN-04", Backings::kSmall) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(uffd.zeropage(map.range(1, 2)), Done(2 * map.page_size()));
  expect_zero(map.page(1), 2 * map.page_size());
  uffd.expect_no_message();
  for (const std::size_t neighbour : {0u, 3u}) {
    Faulter faulter = expect_read_faults(uffd, map.page(neighbour));
    const auto source = pattern(map.page_size(), 1);
    EXPECT_EQ(uffd.copy(map.range(neighbour, 1), source.data()), Done(map.page_size()));
    EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
  }
}

// On Linux it is the one page of zeros that all share: a write must get a page of its own.
CONFORMANCE_TEST(Zeropage, PagesAreSeparate, "ZERO-01", Backings::kSmall) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(uffd.zeropage(map.all()), Done(map.size()));
  expect_writable(uffd, map.page(1), 77);
  EXPECT_EQ(touch_read(map.page(1)).value, 77u);
  expect_zero(map.page(0), map.page_size());
  expect_zero(map.page(1) + 8, map.page_size() - 8);
  expect_zero(map.page(2), map.page_size());
}

CONFORMANCE_TEST(Zeropage, WakesEveryThreadInTheRangeOnly, "ZERO-01", Backings::kSmall) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter reader = expect_read_faults(uffd, map.page(0));
  Faulter writer = expect_write_faults(uffd, map.page(1), kFaultWrite, 5);
  Faulter outside = expect_read_faults(uffd, map.page(2));
  EXPECT_EQ(uffd.zeropage(map.range(0, 2)), Done(2 * map.page_size()));
  EXPECT_EQ(reader.join().value, 0u);
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(1)).value, 5u);
  outside.expect_waiting();
  uffd.expect_no_message();
  EXPECT_EQ(uffd.zeropage(map.range(2, 1)), Done(map.page_size()));
  EXPECT_EQ(outside.join().value, 0u);
}

CONFORMANCE_TEST(Zeropage, DontWakeLetsThemSleep, "ZERO-01 WAKE-01", Backings::kSmall) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  EXPECT_EQ(uffd.zeropage(map.all(), USERFAULT_ZEROPAGE_MODE_DONTWAKE), Done(map.page_size()));
  faulter.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Zeropage, PagePresent, "ZERO-01 REAL-12", Backings::kSmall) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.page_size(), 4);
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
  EXPECT_EQ(uffd.zeropage(map.range(1, 1)), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(uffd.zeropage(map.all()), Fails(EAGAIN, static_cast<std::int64_t>(map.page_size())));
  EXPECT_EQ(uffd.zeropage(map.all()), Fails(EEXIST, -EEXIST));
  expect_zero(map.page(0), map.page_size());
  expect_pattern(map.page(1), map.page_size(), 4);
}

CONFORMANCE_TEST(Zeropage, DestinationNotRegisteredOrNotMapped, "ZERO-01 REAL-31", Backings::kSmall) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.range(0, 1), kMissing);
  EXPECT_EQ(uffd.zeropage(map.range(1, 1)), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(uffd.zeropage(map.range(0, 2)), Fails(ENOENT, -ENOENT));
  ASSERT_EQ(userfault_munmap(map.page(0), map.page_size()), 0);
  EXPECT_EQ(uffd.zeropage(map.range(0, 1)), Fails(ENOENT, -ENOENT));
}

// Shared: the page exists in the memory afterwards, for the other view as well.
CONFORMANCE_TEST(Zeropage, OneOfTwoViews, "ZERO-01 REAL-45", Backings::kShmem) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  const Range alias{reinterpret_cast<std::uintptr_t>(map.alias(0)), map.page_size()};
  uffd.must_register(map.all(), kMissing);
  uffd.must_register(alias, kMissing);
  EXPECT_EQ(uffd.zeropage(map.all()), Done(map.page_size()));
  EXPECT_EQ(uffd.zeropage(alias), Fails(EEXIST, -EEXIST));
  expect_writable(uffd, map.page(0), 8);
  EXPECT_EQ(expect_readable(uffd, map.alias(0)), 8u);
}

CONFORMANCE_TEST(Zeropage, NotOnHugePages, "ZERO-02 REAL-33", Backings::kHugetlb) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  const Outcome registered = uffd.register_range(map.all(), kMissing);
  EXPECT_EQ(registered.output & (1 << USERFAULT_NR_ZEROPAGE), 0);
  EXPECT_EQ(uffd.zeropage(map.all()), Fails(EINVAL, -EINVAL));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  EXPECT_EQ(uffd.zeropage(map.all()), Fails(EINVAL, -EINVAL));
  faulter.expect_waiting();
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// UFFDIO_COPY: how it fails, and what it leaves then.
#include <sys/mman.h>

#include <cerrno>

#include "support/test.h"

namespace userfault::conformance {
namespace {

CONFORMANCE_TEST(CopyErrors, PagePresentAtOnce, "COPY-04 REAL-12", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto first = pattern(map.page_size(), 1);
  const auto second = pattern(map.size(), 2);
  EXPECT_EQ(uffd.copy(map.range(0, 1), first.data()), Done(map.page_size()));
  EXPECT_EQ(uffd.copy(map.all(), second.data()), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(uffd.copy(map.range(0, 1), second.data()), Fails(EEXIST, -EEXIST));
  expect_pattern(map.page(0), map.page_size(), 1);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

// Who resolves with DONTWAKE and gets EEXIST the next time has to WAKE: the failure wakes nobody.
CONFORMANCE_TEST(CopyErrors, PagePresentWakesNobody, "COPY-04 REAL-12", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  const auto source = pattern(map.page_size(), 1);
  EXPECT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_DONTWAKE), Done(map.page_size()));
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Fails(EEXIST, -EEXIST));
  faulter.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
}

CONFORMANCE_TEST(CopyErrors, StopsAtAPageThatIsPresent, "COPY-04 GEN-05 REAL-12 REAL-13", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto old = pattern(map.page_size(), 1);
  EXPECT_EQ(uffd.copy(map.range(2, 1), old.data()), Done(map.page_size()));
  Faulter in_done_part = expect_read_faults(uffd, map.page(1));
  Faulter after_it = expect_read_faults(uffd, map.page(3));
  const auto source = pattern(map.size(), 2);
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Fails(EAGAIN, static_cast<std::int64_t>(2 * map.page_size())));
  // Who waits in the part that was done goes on; the rest is as it was.
  EXPECT_EQ(in_done_part.join().value, pattern_word(2, map.page_size() / 8));
  expect_pattern(map.page(0), 2 * map.page_size(), 2);
  expect_pattern(map.page(2), map.page_size(), 1);
  after_it.expect_waiting();
  uffd.expect_no_message();
  uffd.fill_with_zeros(map.range(3, 1));
  EXPECT_EQ(after_it.join().value, 0u);
}

CONFORMANCE_TEST(CopyErrors, SourceThatFaults, "COPY-05 REAL-14", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  auto* source =
      static_cast<char*>(::mmap(nullptr, map.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  fill_pattern(source, map.size(), 3);
  ::mprotect(source + map.page_size(), map.page_size(), PROT_NONE);
  EXPECT_EQ(uffd.copy(map.range(0, 1), source + map.page_size()), Fails(EFAULT, -EFAULT));
  // Whole pages before it count.
  EXPECT_EQ(uffd.copy(map.all(), source), Fails(EAGAIN, static_cast<std::int64_t>(map.page_size())));
  expect_pattern(map.page(0), map.page_size(), 3);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  // The last byte of the source is out of reach: nothing of the page arrives.
  EXPECT_EQ(uffd.copy(map.range(1, 1), source + 1), Fails(EFAULT, -EFAULT));
  faulter.expect_waiting();
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
  expect_zero(map.page(1), map.page_size());
}

CONFORMANCE_TEST(CopyErrors, SourceOutsideOfTheAddressSpace, "COPY-05 GEN-06", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const std::uintptr_t wraps = ~std::uintptr_t{0} - map.page_size() + 2;
  EXPECT_EQ(uffd.copy(map.all(), reinterpret_cast<const void*>(wraps)), Fails(EINVAL));
  EXPECT_EQ(uffd.copy(map.all(), reinterpret_cast<const void*>(std::uintptr_t{1} << 63)), Fails(EINVAL));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(CopyErrors, DestinationNotRegistered, "REAL-14 REAL-31", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.range(0, 1), kMissing);
  const auto source = pattern(map.size(), 4);
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Fails(ENOENT, -ENOENT));
  // Begins where it is registered and ends where it is not: nothing is done.
  EXPECT_EQ(uffd.copy(map.range(0, 2), source.data()), Fails(ENOENT, -ENOENT));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.range(0, 1));
  EXPECT_EQ(faulter.join().value, 0u);
  expect_zero(map.page(1), map.page_size());
}

CONFORMANCE_TEST(CopyErrors, DestinationNotMapped, "REAL-14 REAL-31 GEN-09", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ASSERT_EQ(userfault_munmap(map.page(1), map.page_size()), 0);
  const auto source = pattern(map.size(), 4);
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(uffd.copy(map.range(0, 2), source.data()), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(uffd.copy(map.range(2, 1), source.data()), Done(map.page_size()));
  expect_pattern(map.page(2), map.page_size(), 4);
}

CONFORMANCE_TEST(CopyErrors, DestinationSpansTwoMappings, "REAL-31", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  ASSERT_EQ(userfault_mprotect(map.page(1), map.page_size(), PROT_READ), 0);
  const auto source = pattern(map.size(), 5);
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(uffd.copy(map.range(0, 1), source.data()), Done(map.page_size()));
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
  expect_pattern(map.page(0), map.page_size(), 5);
  expect_pattern(map.page(1), map.page_size(), 5);
}

CONFORMANCE_TEST(CopyErrors, ModeWpOnARangeWithoutIt, "COPY-03 REAL-17 REAL-33", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.size(), 5);
  EXPECT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_WP), Fails(EINVAL, -EINVAL));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

// The argument checks know only of 4 KiB pages, so this is found at the mapping, and is written.
CONFORMANCE_TEST(CopyErrors, LessThanAHugePage, "GEN-06 REAL-33", Backings::kHugetlb) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.page_size(), 5);
  const Range all = map.range(0, 1);
  EXPECT_EQ(uffd.copy({all.start, 4096}, source.data()), Fails(EINVAL, -EINVAL));
  EXPECT_EQ(uffd.copy({all.start + 4096, all.length}, source.data()), Fails(EINVAL, -EINVAL));
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.range(0, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// What holds for every operation on a range: alignment, lengths, modes, and the output field.
#include <array>
#include <cerrno>
#include <limits>
#include <vector>

#include "support/operations.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

// Ranges that no operation takes, whatever is mapped where. 4 KiB is what the checks know of: that
// hugetlb wants more is found at the mapping.
std::vector<Range> bad_ranges(const Range& good) {
  constexpr std::uintptr_t kTop = std::numeric_limits<std::uintptr_t>::max() - 4095;
  return {
      {good.start + 1, good.length},
      {good.start + 2048, good.length},
      {good.start, good.length - 1},
      {good.start, 1},
      {good.start, 0},
      {kTop, 8192},                     // wraps
      {good.start, kTop},               // wraps
      {kTop, 4096},                     // ends at 0
      {std::uintptr_t{1} << 63, 4096},  // beyond what a process has
  };
}

CONFORMANCE_TEST(Arguments, BadRangesForFilling, "GEN-06 REAL-33", Backings::kAll) {
  Uffd uffd(ctx);
  for (const Filling& filling : fillings(ctx)) {
    const Ground ground(ctx, uffd, filling, 2);
    for (const Range& range : bad_ranges(ground.map.range(0, 1)))
      EXPECT_EQ(ground.call(uffd, range), Fails(EINVAL))
          << filling.name << std::hex << " " << range.start << " + " << range.length;
    ground.expect_still_missing(uffd, 0);
    ground.expect_still_missing(uffd, 1);
  }
}

CONFORMANCE_TEST(Arguments, BadRangesForTheRest, "GEN-06 UNREG-02", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  for (const Range& range : bad_ranges(map.range(0, 1))) {
    SCOPED_TRACE(testing::Message() << std::hex << range.start << " + " << range.length);
    EXPECT_EQ(uffd.register_range(range, kMissing), Fails(EINVAL));
    EXPECT_EQ(uffd.unregister(range), Fails(EINVAL));
    EXPECT_EQ(uffd.wake(range), Fails(EINVAL));
  }
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  uffd.fill_with_zeros(map.range(0, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Arguments, BadRangesForWriteprotect, "GEN-06", Backings::kAll) {
  require_modes(ctx, kWp);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kWp);
  expect_writable(uffd, map.page(0));
  for (const Range& range : bad_ranges(map.all())) {
    SCOPED_TRACE(testing::Message() << std::hex << range.start << " + " << range.length);
    EXPECT_EQ(uffd.writeprotect(range, USERFAULT_WRITEPROTECT_MODE_WP), Fails(EINVAL));
  }
  expect_writable(uffd, map.page(0));
}

CONFORMANCE_TEST(Arguments, UnknownModeBits, "GEN-07 REAL-33", Backings::kAll) {
  Uffd uffd(ctx);
  for (const Filling& filling : fillings(ctx)) {
    const Ground ground(ctx, uffd, filling, 1);
    for (std::uint64_t bit = filling.unknown_mode; bit != 0; bit <<= 1)
      EXPECT_EQ(ground.call(uffd, ground.map.all(), bit), Fails(EINVAL)) << filling.name << " " << std::hex << bit;
    EXPECT_EQ(ground.call(uffd, ground.map.all(), filling.unknown_mode | filling.dontwake), Fails(EINVAL));
    ground.expect_still_missing(uffd, 0);
  }
}

// The field is for the kernel to write: whatever it held does not matter, as callers that reuse a
// struct after an EAGAIN rely on.
CONFORMANCE_TEST(Arguments, OutputFieldIsWriteOnly, "GEN-04", Backings::kAll) {
  Mapping map(ctx, 5);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(map.page_size(), 1);
  const std::array<std::int64_t, 5> before{0, -EEXIST, -1, static_cast<std::int64_t>(map.page_size()),
                                           std::numeric_limits<std::int64_t>::min()};
  for (std::size_t i = 0; i < before.size(); ++i) {
    userfault_copy copy{map.range(i, 1).start, reinterpret_cast<std::uintptr_t>(source.data()), map.page_size(), 0,
                        before[i]};
    EXPECT_EQ(uffd.raw(USERFAULT_IOC_COPY, &copy), Succeeds());
    EXPECT_EQ(copy.copy, static_cast<std::int64_t>(map.page_size()));
    copy.copy = before[i];
    EXPECT_EQ(uffd.raw(USERFAULT_IOC_COPY, &copy), Fails(EEXIST));
    EXPECT_EQ(copy.copy, -EEXIST);
  }
}

CONFORMANCE_TEST(Arguments, AllOfItDone, "GEN-04 GEN-03", Backings::kAll) {
  Uffd uffd(ctx);
  for (const Filling& filling : fillings(ctx)) {
    const Ground ground(ctx, uffd, filling, 3);
    EXPECT_EQ(ground.call(uffd, 0, 2), Done(2 * ground.map.page_size())) << filling.name;
    ground.expect_filled(0);
    ground.expect_filled(1);
    ground.expect_still_missing(uffd, 2);
  }
}

CONFORMANCE_TEST(Arguments, PartOfItDone, "GEN-05 REAL-12 REAL-13", Backings::kAll) {
  Uffd uffd(ctx);
  for (const Filling& filling : fillings(ctx)) {
    const Ground ground(ctx, uffd, filling, 4);
    const std::size_t page = ground.map.page_size();
    EXPECT_EQ(ground.call(uffd, 2, 1), Done(page)) << filling.name;
    if (filling.request == USERFAULT_IOC_MOVE) fill_pattern(ground.source + 2 * page, page, 3);
    EXPECT_EQ(ground.call(uffd, 0, 4), Fails(EAGAIN, static_cast<std::int64_t>(2 * page))) << filling.name;
    for (const std::size_t done : {0u, 1u, 2u}) ground.expect_filled(done);
    ground.expect_still_missing(uffd, 3);
    EXPECT_EQ(ground.call(uffd, 2, 2), Fails(EEXIST, -EEXIST)) << filling.name;
  }
}

CONFORMANCE_TEST(Arguments, DontWakeLetsThemSleep, "COPY-02 ZERO-01 CONT-01 POIS-03 MOVE-01", Backings::kAll) {
  Uffd uffd(ctx);
  for (const Filling& filling : fillings(ctx)) {
    const Ground ground(ctx, uffd, filling, 1);
    Faulter faulter = expect_read_faults(uffd, ground.map.page(0), filling.modes == kMinor ? kFaultMinor : 0);
    EXPECT_EQ(ground.call(uffd, 0, 1, filling.dontwake), Done(ground.map.page_size())) << filling.name;
    faulter.expect_waiting();
    ground.expect_filled(0);
    EXPECT_EQ(ground.call(uffd, 0, 1), Fails(EEXIST, -EEXIST)) << filling.name;
    faulter.expect_waiting();
    EXPECT_EQ(uffd.wake(ground.map.all()), Succeeds());
    EXPECT_EQ(faulter.join().sigbus, filling.request == USERFAULT_IOC_POISON);
  }
}

}  // namespace
}  // namespace userfault::conformance

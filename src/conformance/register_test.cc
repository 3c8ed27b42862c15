// SPDX-License-Identifier: Apache-2.0
// UFFDIO_REGISTER: modes, masks, and what it leaves alone. What it refuses: register_errors_test.cc.
#include <sys/mman.h>

#include <array>
#include <cerrno>

#include "support/test.h"

namespace userfault::conformance {
namespace {

Outcome Registered(const Context& ctx, std::uint64_t modes) {
  return {0, 0, static_cast<std::int64_t>(expected_ioctls(ctx, modes))};
}

// Every combination of modes that the backing has, with the mask it answers.
CONFORMANCE_TEST(Register, ModesAndTheirOperations, "REG-01 REG-02 REG-03 REG-04 REG-05 REAL-02 REAL-04 REAL-35",
                 Backings::kAll) {
  for (std::uint64_t modes = 1; modes < 8; ++modes) {
    if ((modes & kMinor) != 0 && ctx.backing == Backing::kPrivateAnonymous) continue;
    require_modes(ctx, modes);
    Mapping map(ctx, 1);
    Uffd uffd(ctx);
    EXPECT_EQ(uffd.register_range(map.all(), modes), Registered(ctx, modes)) << "modes " << modes;
  }
}

// The words that real-kernel.md gives, for an engine that has all 17 features.
CONFORMANCE_TEST(Register, MasksInNumbers, "REG-05 REAL-04 REAL-35 REAL-55", Backings::kAll) {
  ctx.require(USERFAULT_FEATURE_ALL);
  struct Expected {
    std::uint64_t modes, small, huge;
  };
  constexpr std::array kExpected{Expected{kMissing, 0x13c, 0x10c}, Expected{kWp, 0x17c, 0x14c},
                                 Expected{kMinor, 0x1bc, 0x18c}, Expected{kMissing | kWp, 0x17c, 0x14c},
                                 Expected{kMissing | kWp | kMinor, 0x1fc, 0x1cc}};
  for (const Expected& expected : kExpected) {
    if ((expected.modes & kMinor) != 0 && ctx.backing == Backing::kPrivateAnonymous) continue;
    Mapping map(ctx, 1);
    Uffd uffd(ctx);
    const Outcome outcome = uffd.register_range(map.all(), expected.modes);
    EXPECT_EQ(outcome.output, static_cast<std::int64_t>(is_hugetlb(ctx.backing) ? expected.huge : expected.small))
        << "modes " << expected.modes << ": " << outcome;
  }
}

CONFORMANCE_TEST(Register, MissingPagesFault, "REG-01 REG-04 MSG-03", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter reader = expect_read_faults(uffd, map.page(0));
  Faulter writer = expect_write_faults(uffd, map.page(1), kFaultWrite, 4);
  reader.expect_waiting();
  writer.expect_waiting();
  uffd.fill_with_zeros(map.all());
  EXPECT_EQ(reader.join().value, 0u);
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.page(1)).value, 4u);
}

// A page of the memory that this view has not mapped yet: minor, whatever the access; a page that
// the memory does not have: nothing, unless MISSING was asked for too.
CONFORMANCE_TEST(Register, MinorFaultsAreForCachedPages, "REG-03 MSG-03", Backings::kShared) {
  require_modes(ctx, kMinor | kMissing);
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  fill_pattern(map.alias(0), 2 * map.page_size(), 1);
  uffd.must_register(map.all(), kMinor);
  Faulter reader = expect_read_faults(uffd, map.page(0), kFaultMinor);
  Faulter writer = expect_write_faults(uffd, map.page(1), kFaultWrite | kFaultMinor, 9);
  EXPECT_EQ(expect_readable(uffd, map.page(2)), 0u);
  EXPECT_EQ(uffd.map_cached(map.range(0, 2)), Done(2 * map.page_size()));
  EXPECT_EQ(reader.join().value, pattern_word(1, 0));
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(touch_read(map.alias(1)).value, 9u);
}

CONFORMANCE_TEST(Register, MissingModeLetsCachedPagesThrough, "REG-01 REG-10", Backings::kShared) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  fill_pattern(map.alias(0), map.page_size(), 1);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), pattern_word(1, 0));
  expect_pattern(map.page(0), map.page_size(), 1);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Register, PopulatedPagesDoNotFault, "REG-10", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  fill_pattern(map.page(0), map.page_size(), 2);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), pattern_word(2, 0));
  expect_pattern(map.page(0), map.page_size(), 2);
  expect_writable(uffd, map.page(0), 7);
  Faulter faulter = expect_write_faults(uffd, map.page(1), kFaultWrite, 3);
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_FALSE(faulter.join().sigbus);
}

// A read of private anonymous memory maps the page of zeros; that counts as populated as well.
CONFORMANCE_TEST(Register, PagesReadBeforeDoNotFault, "REG-10", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  EXPECT_EQ(touch_read(map.page(0)).value, 0u);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  expect_writable(uffd, map.page(0), 7);
  EXPECT_EQ(touch_read(map.page(0)).value, 7u);
}

CONFORMANCE_TEST(Register, SeveralMappingsTogether, "REG-10", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  ASSERT_EQ(userfault_mprotect(map.page(1), map.page_size(), PROT_READ), 0);
  ASSERT_EQ(userfault_mprotect(map.page(3), map.page_size(), PROT_READ), 0);
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Registered(ctx, kMissing));
  for (std::size_t page = 0; page < map.pages(); ++page) {
    Faulter faulter = expect_read_faults(uffd, map.page(page));
    uffd.fill_with_zeros(map.range(page, 1));
    EXPECT_EQ(faulter.join().value, 0u);
  }
}

CONFORMANCE_TEST(Register, SkipsHoles, "REAL-07", Backings::kAll) {
  Mapping map(ctx, 5);
  Uffd uffd(ctx);
  for (const std::size_t hole : {0u, 2u, 4u}) ASSERT_EQ(userfault_munmap(map.page(hole), map.page_size()), 0);
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Registered(ctx, kMissing));
  for (const std::size_t page : {1u, 3u}) {
    Faulter faulter = expect_read_faults(uffd, map.page(page));
    uffd.fill_with_zeros(map.range(page, 1));
    EXPECT_EQ(faulter.join().value, 0u);
  }
}

CONFORMANCE_TEST(Register, PartOfAMapping, "REG-01", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.range(1, 1), kMissing);
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  expect_writable(uffd, map.page(2), 3);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

// The answer lists the operations of the modes that were asked for now; the range keeps the old.
CONFORMANCE_TEST(Register, AgainWithFewerModesKeepsTheOld, "REAL-05", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing | kWp);
  uffd.fill_with_zeros(map.range(0, 1));
  EXPECT_EQ(uffd.writeprotect(map.range(0, 1), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Registered(ctx, kMissing));
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite | kFaultWp, 3);
  EXPECT_EQ(uffd.writeprotect(map.range(0, 1), 0), Succeeds());
  EXPECT_FALSE(writer.join().sigbus);
  EXPECT_EQ(uffd.register_range(map.all(), kWp), Registered(ctx, kWp));
  Faulter reader = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(reader.join().value, 0u);
}

// But a mode that is new takes the place of those that were there.
CONFORMANCE_TEST(Register, AgainWithAnotherModeReplaces, "REAL-05 REG-02 REAL-54", Backings::kAll) {
  require_modes(ctx, kMissing | kWp);
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(uffd.register_range(map.all(), kWp), Registered(ctx, kWp));
  EXPECT_EQ(expect_readable(uffd, map.page(0)), 0u);
  EXPECT_EQ(uffd.register_range(map.all(), kMissing | kWp), Registered(ctx, kMissing | kWp));
  Faulter reader = expect_read_faults(uffd, map.page(1));
  uffd.fill_with_zeros(map.range(1, 1));
  EXPECT_EQ(reader.join().value, 0u);
}

// A zero page that was made in one mode is there in the other.
CONFORMANCE_TEST(Register, AgainWithAnotherModeKeepsZeroPages, "REAL-54 ZERO-01", Backings::kPrivate) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_WP);
  ASSERT_EQ(uffd.zeropage(map.range(0, 1)), Done(map.page_size()));
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  const auto source = pattern(map.page_size(), 4);
  EXPECT_EQ(uffd.copy(map.range(0, 1), source.data()), Fails(EEXIST, -EEXIST));
  expect_zero(map.page(0), map.page_size());
  EXPECT_EQ(uffd.copy(map.range(1, 1), source.data()), Done(map.page_size()));
}

// Without the mode a protection that was there means nothing.
CONFORMANCE_TEST(Register, AgainWithoutTheModeLetsWritesThrough, "REAL-54 REG-02", Backings::kShmem) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  const auto source = pattern(map.page_size(), 4);
  ASSERT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_WP), Done(map.page_size()));
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MINOR);
  expect_writable(uffd, map.page(0), 9);
}

CONFORMANCE_TEST(Register, AgainExtends, "REG-01 REG-06", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.range(1, 1), kMissing);
  EXPECT_EQ(uffd.register_range(map.all(), kMissing), Registered(ctx, kMissing));
  const auto source = pattern(map.page_size(), 3);
  // A page at a time: mappings of huge pages that were split do not merge again, and COPY does not
  // cross from one into the next.
  for (std::size_t page = 0; page < map.pages(); ++page) {
    EXPECT_EQ(uffd.copy(map.range(page, 1), source.data()), Done(map.page_size()));
    expect_pattern(map.page(page), map.page_size(), 3);
  }
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// UFFDIO_POISON.
#include <signal.h>
#include <sys/mman.h>

#include <cerrno>

#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

struct Registered {
  Registered(const Context& ctx, std::size_t pages, std::uint64_t modes = kMissing) : map(ctx, pages), uffd(ctx) {
    ctx.require(USERFAULT_FEATURE_POISON);
    require_modes(ctx, modes);
    uffd.must_register(map.all(), modes);
  }
  Mapping map;
  Uffd uffd;
};

// SIGBUS as for a page that the hardware lost; BUS_ADRERR from kernels without support for that.
void expect_poisoned(const Mapping& map, std::size_t page) {
  for (const std::size_t offset : {std::size_t{0}, map.page_size() / 2, map.page_size() - 8}) {
    char* address = map.page(page) + offset;
    for (const Touch& touch : {touch_read(address), touch_write(address, 1)}) {
      EXPECT_TRUE(touch.sigbus);
      EXPECT_TRUE(touch.code == BUS_MCEERR_AR || touch.code == BUS_ADRERR) << "si_code " << touch.code;
      const auto* where = static_cast<char*>(touch.address);
      EXPECT_TRUE(where >= map.page(page) && where < map.page(page) + map.page_size()) << "si_addr " << touch.address;
    }
  }
}

CONFORMANCE_TEST(Poison, EveryAccessIsSigbus, "POIS-01 GEN-04 REAL-18", Backings::kAll) {
  const Registered t(ctx, 4);
  EXPECT_EQ(t.uffd.poison(t.map.range(1, 2)), Done(2 * t.map.page_size()));
  expect_poisoned(t.map, 1);
  expect_poisoned(t.map, 2);
  t.uffd.expect_no_message();
  for (const std::size_t neighbour : {0u, 3u}) {
    Faulter faulter = expect_read_faults(t.uffd, t.map.page(neighbour));
    t.uffd.fill_with_zeros(t.map.range(neighbour, 1));
    EXPECT_EQ(faulter.join().value, 0u);
  }
}

CONFORMANCE_TEST(Poison, WhoWaitsGetsSigbus, "POIS-03 POIS-01", Backings::kAll) {
  const Registered t(ctx, 2);
  Faulter reader = expect_read_faults(t.uffd, t.map.page(0));
  Faulter writer = expect_write_faults(t.uffd, t.map.page(0), kFaultWrite, 3);
  Faulter outside = expect_read_faults(t.uffd, t.map.page(1));
  EXPECT_EQ(t.uffd.poison(t.map.range(0, 1)), Done(t.map.page_size()));
  EXPECT_TRUE(reader.join().sigbus);
  EXPECT_TRUE(writer.join().sigbus);
  outside.expect_waiting();
  t.uffd.fill_with_zeros(t.map.range(1, 1));
  EXPECT_EQ(outside.join().value, 0u);
}

CONFORMANCE_TEST(Poison, DontWakeLetsThemSleep, "POIS-03 WAKE-01", Backings::kAll) {
  const Registered t(ctx, 1);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0));
  EXPECT_EQ(t.uffd.poison(t.map.all(), USERFAULT_POISON_MODE_DONTWAKE), Done(t.map.page_size()));
  faulter.expect_waiting();
  EXPECT_EQ(t.uffd.wake(t.map.all()), Succeeds());
  EXPECT_TRUE(faulter.join().sigbus);
}

CONFORMANCE_TEST(Poison, PageMapped, "POIS-02 REAL-12", Backings::kAll) {
  const Registered t(ctx, 4);
  const auto source = pattern(t.map.page_size(), 2);
  EXPECT_EQ(t.uffd.copy(t.map.range(2, 1), source.data()), Done(t.map.page_size()));
  EXPECT_EQ(t.uffd.poison(t.map.range(2, 2)), Fails(EEXIST, -EEXIST));
  EXPECT_EQ(t.uffd.poison(t.map.all()), Fails(EAGAIN, static_cast<std::int64_t>(2 * t.map.page_size())));
  expect_poisoned(t.map, 0);
  expect_poisoned(t.map, 1);
  expect_pattern(t.map.page(2), t.map.page_size(), 2);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(3));
  t.uffd.fill_with_zeros(t.map.range(3, 1));
  EXPECT_EQ(faulter.join().value, 0u);
}

CONFORMANCE_TEST(Poison, PoisonedAlready, "POIS-02 REAL-18", Backings::kAll) {
  const Registered t(ctx, 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(t.uffd.poison(t.map.all()), Fails(EEXIST, -EEXIST));
  expect_poisoned(t.map, 0);
}

CONFORMANCE_TEST(Poison, CopyHeals, "POIS-01 REAL-18 REAL-59", Backings::kAll) {
  const Registered t(ctx, 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  expect_poisoned(t.map, 0);
  const auto source = pattern(t.map.page_size(), 2);
  EXPECT_EQ(t.uffd.copy(t.map.all(), source.data()), Done(t.map.page_size()));
  expect_pattern(t.map.page(0), t.map.page_size(), 2);
  expect_writable(t.uffd, t.map.page(0), 3);
}

// On shared memory ZEROPAGE heals as COPY does; on private memory, where it maps the page of zeros,
// it does not.
CONFORMANCE_TEST(Poison, ZeropageHeals, "POIS-01 REAL-18 REAL-59", Backings::kShmem) {
  const Registered t(ctx, 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(t.uffd.zeropage(t.map.all()), Done(t.map.page_size()));
  expect_zero(t.map.page(0), t.map.page_size());
}

CONFORMANCE_TEST(Poison, ZeropageDoesNotHealPrivateMemory, "POIS-01 REAL-18 REAL-59", Backings::kPrivate) {
  const Registered t(ctx, 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(t.uffd.zeropage(t.map.all()), Fails(EEXIST, -EEXIST));
  expect_poisoned(t.map, 0);
}

CONFORMANCE_TEST(Poison, ContinueHeals, "POIS-01 CONT-01 REAL-59", Backings::kShared) {
  const Registered t(ctx, 1, kMinor);
  fill_pattern(t.map.alias(0), t.map.page_size(), 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  expect_poisoned(t.map, 0);
  EXPECT_EQ(t.uffd.map_cached(t.map.all()), Done(t.map.page_size()));
  expect_pattern(t.map.page(0), t.map.page_size(), 1);
}

// The poison is in the mapping, not in the memory behind it.
CONFORMANCE_TEST(Poison, OtherViewIsNotPoisoned, "POIS-01", Backings::kShared) {
  const Registered t(ctx, 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  expect_poisoned(t.map, 0);
  expect_zero(t.map.alias(0), t.map.page_size());
  EXPECT_EQ(touch_write(t.map.alias(0), 4).sigbus, false);
  expect_poisoned(t.map, 0);
}

CONFORMANCE_TEST(Poison, OtherProcessIsNotPoisoned, "POIS-01",
                 Backings::kMemfd | Backings::kTmpfs | Backings::kHugetlbShared) {
  const Registered t(ctx, 1);
  ChildProcess child([&](int socket) {
    receive_byte(socket);
    expect_zero(t.map.page(0), t.map.page_size());
  });
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  send_byte(child.socket());
  child.join();
  expect_poisoned(t.map, 0);
}

CONFORMANCE_TEST(Poison, SurvivesUnregister, "REAL-36", Backings::kAll) {
  const Registered t(ctx, 1);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size()));
  EXPECT_EQ(t.uffd.unregister(t.map.all()), Succeeds());
  expect_poisoned(t.map, 0);
}

CONFORMANCE_TEST(Poison, SurvivesClose, "REAL-36 REAL-59", Backings::kAll) {
  Mapping map(ctx, 1);
  {
    ctx.require(USERFAULT_FEATURE_POISON);
    Uffd uffd(ctx);
    uffd.must_register(map.all(), kMissing);
    EXPECT_EQ(uffd.poison(map.all()), Done(map.page_size()));
  }
  expect_poisoned(map, 0);
}

CONFORMANCE_TEST(Poison, DontneedClearsIt, "REAL-36", Backings::kAll) {
  const Registered t(ctx, 2);
  EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.size()));
  ASSERT_EQ(userfault_madvise(t.map.page(0), t.map.page_size(), MADV_DONTNEED), 0);
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0));
  t.uffd.fill_with_zeros(t.map.range(0, 1));
  EXPECT_EQ(faulter.join().value, 0u);
  expect_poisoned(t.map, 1);
}

CONFORMANCE_TEST(Poison, WorksWhereOnlyWpOrMinorIsTracked, "REAL-35", Backings::kAll) {
  for (const std::uint64_t mode : {kWp, kMinor}) {
    if (mode == kMinor && ctx.backing == Backing::kPrivateAnonymous) continue;
    const Registered t(ctx, 1, mode);
    EXPECT_EQ(t.uffd.poison(t.map.all()), Done(t.map.page_size())) << "mode " << mode;
    expect_poisoned(t.map, 0);
  }
}

CONFORMANCE_TEST(Poison, DestinationNotRegisteredOrNotMapped, "REAL-31 GEN-09", Backings::kAll) {
  ctx.require(USERFAULT_FEATURE_POISON);
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.range(0, 1), kMissing);
  EXPECT_EQ(uffd.poison(map.range(1, 1)), Fails(ENOENT, -ENOENT));
  EXPECT_EQ(uffd.poison(map.range(0, 2)), Fails(ENOENT, -ENOENT));
  ASSERT_EQ(userfault_munmap(map.page(0), map.page_size()), 0);
  EXPECT_EQ(uffd.poison(map.range(0, 1)), Fails(ENOENT, -ENOENT));
  expect_zero(map.page(1), map.page_size());
}

// Memory that is marked cannot be marked for something else.
CONFORMANCE_TEST(Poison, NotOverAProtectionWithoutAPage, "POIS-02 WP-01 REAL-59",
                 Backings::kShmem | Backings::kHugetlb) {
  const Registered t(ctx, 1, kMissing | kWp);
  EXPECT_EQ(t.uffd.writeprotect(t.map.all(), USERFAULT_WRITEPROTECT_MODE_WP), Succeeds());
  EXPECT_EQ(t.uffd.poison(t.map.all()), Fails(EEXIST, -EEXIST));
}

CONFORMANCE_TEST(Poison, LessThanAHugePage, "GEN-06 REAL-33", Backings::kHugetlb) {
  const Registered t(ctx, 1);
  const Range all = t.map.all();
  EXPECT_EQ(t.uffd.poison({all.start, 4096}), Fails(EINVAL, -EINVAL));
  Faulter faulter = expect_read_faults(t.uffd, t.map.page(0));
  t.uffd.fill_with_zeros(t.map.all());
  EXPECT_EQ(faulter.join().value, 0u);
}

}  // namespace
}  // namespace userfault::conformance

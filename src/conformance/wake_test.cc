// SPDX-License-Identifier: Apache-2.0
// UFFDIO_WAKE.
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "support/test.h"

namespace userfault::conformance {
namespace {

CONFORMANCE_TEST(Wake, EndsABatch, "WAKE-01", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  std::vector<Faulter> faulters;
  for (std::size_t page = 0; page < map.pages(); ++page) faulters.push_back(expect_read_faults(uffd, map.page(page)));
  for (std::size_t page = 0; page < map.pages(); ++page) {
    const auto source = pattern(map.page_size(), page + 1);
    EXPECT_EQ(uffd.copy(map.range(page, 1), source.data(), USERFAULT_COPY_MODE_DONTWAKE), Done(map.page_size()));
  }
  for (const Faulter& faulter : faulters) faulter.expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  for (std::size_t page = 0; page < map.pages(); ++page)
    EXPECT_EQ(faulters[page].join().value, pattern_word(page + 1, 0));
  uffd.expect_no_message();
}

CONFORMANCE_TEST(Wake, OnlyTheRange, "WAKE-01", Backings::kAll) {
  Mapping map(ctx, 3);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  std::vector<Faulter> faulters;
  for (std::size_t page = 0; page < map.pages(); ++page) faulters.push_back(expect_read_faults(uffd, map.page(page)));
  const auto source = pattern(map.size(), 1);
  EXPECT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_DONTWAKE), Done(map.size()));
  EXPECT_EQ(uffd.wake(map.range(1, 1)), Succeeds());
  EXPECT_FALSE(faulters[1].join().sigbus);
  faulters[0].expect_waiting();
  faulters[2].expect_waiting();
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  for (const std::size_t page : {0u, 2u}) EXPECT_FALSE(faulters[page].join().sigbus);
}

CONFORMANCE_TEST(Wake, PageStillMissingFaultsAgain, "WAKE-02", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter reader = expect_read_faults(uffd, map.page(0));
  Faulter writer = expect_write_faults(uffd, map.page(0), kFaultWrite, 9);
  uffd.expect_no_message();
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(uffd.wake(map.all()), Succeeds());
    // One message each again, in either order.
    const std::uint64_t flags[2] = {uffd.next_message().arg.pagefault.flags, uffd.next_message().arg.pagefault.flags};
    EXPECT_EQ(flags[0] + flags[1], kFaultWrite);
    reader.expect_waiting();
    writer.expect_waiting();
    uffd.expect_no_message();
  }
  uffd.fill_with_zeros(map.all());
  EXPECT_FALSE(reader.join().sigbus);
  EXPECT_FALSE(writer.join().sigbus);
}

CONFORMANCE_TEST(Wake, NobodyThere, "WAKE-01", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  // The range is only a range of addresses to it: neither registered nor even mapped.
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  uffd.must_register(map.all(), kMissing);
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
  ASSERT_EQ(userfault_munmap(map.page(0), map.size()), 0);
  EXPECT_EQ(uffd.wake(map.all()), Succeeds());
}

// A message that was not read yet is void when its thread is woken: it comes once, not twice.
CONFORMANCE_TEST(Wake, UnreadMessageGoesWithItsFault, "WAKE-01 REAL-11", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = Faulter::read(map.page(0));
  pollfd entry{uffd.fd(), POLLIN, 0};
  ASSERT_EQ(userfault_poll(&entry, 1, 10000), 1);
  const auto source = pattern(map.page_size(), 1);
  EXPECT_EQ(uffd.copy(map.all(), source.data()), Done(map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
  uffd.expect_no_message();
}

}  // namespace
}  // namespace userfault::conformance

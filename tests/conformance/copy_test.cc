// SPDX-License-Identifier: Apache-2.0
// UFFDIO_COPY.
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

CONFORMANCE_TEST(Copy, FillsWholePagesAndNothingElse, "COPY-01 GEN-04", Backings::kAll) {
  Mapping map(ctx, 4);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing);
  const auto source = pattern(2 * map.page_size(), 7);
  EXPECT_EQ(uffd.copy(map.range(1, 2), source.data()), Done(2 * map.page_size()));
  expect_pattern(map.page(1), 2 * map.page_size(), 7);
  for (const std::size_t neighbour : {0u, 3u}) {
    Faulter faulter = expect_read_faults(uffd, map.page(neighbour));
    uffd.fill_with_zeros(map.range(neighbour, 1));
    EXPECT_EQ(faulter.join().value, 0u);
  }
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// The flags of a page-fault message: what the access was, and what it met.
#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
constexpr std::uint64_t kWp = USERFAULT_REGISTER_MODE_WP;
constexpr std::uint64_t kMinor = USERFAULT_REGISTER_MODE_MINOR;
constexpr std::uint64_t kFlagWrite = USERFAULT_PAGEFAULT_FLAG_WRITE;
constexpr std::uint64_t kFlagWp = USERFAULT_PAGEFAULT_FLAG_WP;
constexpr std::uint64_t kFlagMinor = USERFAULT_PAGEFAULT_FLAG_MINOR;

void expect_missing_flags(const Context& ctx, std::uint64_t modes) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), modes);
  Faulter reader = expect_read_faults(uffd, map.page(0), 0);
  Faulter writer = expect_write_faults(uffd, map.page(1), kFlagWrite);
  uffd.fill_with_zeros(map.all());
  reader.join();
  writer.join();
}

CONFORMANCE_TEST(MessageFlags, MissingPage, "MSG-03", Backings::kAll) { expect_missing_flags(ctx, kMissing); }

CONFORMANCE_TEST(MessageFlags, MissingPageOfAProtectedRange, "MSG-03 REAL-40", Backings::kAll) {
  ctx.require(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
  expect_missing_flags(ctx, kMissing | kWp);
}

CONFORMANCE_TEST(MessageFlags, MissingPageWhereMinorIsWatchedToo, "MSG-03", Backings::kShared) {
  expect_missing_flags(ctx, kMissing | kMinor);
}

CONFORMANCE_TEST(MessageFlags, ProtectedPage, "MSG-03 REAL-40", Backings::kAll) {
  ctx.require(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP);
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMissing | kWp);
  const auto source = pattern(map.page_size(), 4);
  ASSERT_EQ(uffd.copy(map.all(), source.data(), USERFAULT_COPY_MODE_WP), Done(map.page_size()));
  Faulter writer = expect_write_faults(uffd, map.page(0), kFlagWp | kFlagWrite);
  ASSERT_EQ(uffd.writeprotect(map.all(), 0), Succeeds());
  writer.join();
}

CONFORMANCE_TEST(MessageFlags, MinorFault, "MSG-03", Backings::kShared) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), kMinor | kMissing);
  fill_pattern(map.alias(0), map.size(), 4);
  Faulter reader = expect_read_faults(uffd, map.page(0), kFlagMinor);
  Faulter writer = expect_write_faults(uffd, map.page(1), kFlagMinor | kFlagWrite);
  ASSERT_EQ(uffd.map_cached(map.all()), Done(map.size()));
  reader.join();
  writer.join();
}

}  // namespace
}  // namespace userfault::conformance

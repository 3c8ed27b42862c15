// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_POISON and UFFD_FEATURE_MOVE: the operations are there where the features say so.
// What the operations do is in poison_test.cc and move_test.cc.
#include "support/events.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

bool offers(const Outcome& registered, unsigned operation) {
  return (registered.output & std::int64_t{1} << operation) != 0;
}

CONFORMANCE_TEST(FeaturePoisonMove, PoisonIsAvailable, "FEAT-14", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_POISON});
  const Outcome registered = uffd.register_range(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  ASSERT_EQ(registered.result, 0);
  EXPECT_TRUE(offers(registered, USERFAULT_NR_POISON));
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  EXPECT_EQ(uffd.poison(map.range(1, 1)), Done(map.page_size()));
  EXPECT_TRUE(faulter.join().sigbus);
}

CONFORMANCE_TEST(FeaturePoisonMove, MoveIsAvailable, "FEAT-16", Backings::kPrivate) {
  Mapping map(ctx, 2);
  Mapping source(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_MOVE});
  const Outcome registered = uffd.register_range(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  ASSERT_EQ(registered.result, 0);
  EXPECT_TRUE(offers(registered, USERFAULT_NR_MOVE));
  fill_pattern(source.page(0), source.page_size(), 6);
  Faulter faulter = expect_read_faults(uffd, map.page(1));
  EXPECT_EQ(uffd.move(map.range(1, 1), source.page(0)), Done(map.page_size()));
  EXPECT_EQ(faulter.join().value, pattern_word(6, 0));
  expect_pattern(map.page(1), map.page_size(), 6);
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// One page, two mappings.
#include "support/test.h"

namespace userfault::conformance {
namespace {

Range alias_range(const Mapping& map) { return {reinterpret_cast<std::uintptr_t>(map.alias(0)), map.page_size()}; }

// Filling the first makes the second one's page a page of the cache: it is there.
CONFORMANCE_TEST(SharedPage, FilledThroughTheOtherMappingExists, "REAL-45", Backings::kShared) {
  for (const bool zeropage : {false, true}) {
    if (zeropage && is_hugetlb(ctx.backing)) continue;
    Mapping map(ctx, 1);
    Uffd uffd(ctx);
    uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
    uffd.must_register(alias_range(map), USERFAULT_REGISTER_MODE_MISSING);
    const auto source = pattern(map.page_size(), 4);
    const auto fill = [&](Range range) { return zeropage ? uffd.zeropage(range) : uffd.copy(range, source.data()); };
    EXPECT_EQ(fill(map.all()), Done(map.page_size()));
    EXPECT_EQ(fill(alias_range(map)), Fails(EEXIST, -EEXIST));
    EXPECT_EQ(expect_readable(uffd, map.alias(0)), zeropage ? 0 : pattern_word(4, 0));
  }
}

}  // namespace
}  // namespace userfault::conformance

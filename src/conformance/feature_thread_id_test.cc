// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_THREAD_ID: the message says which thread waits.
#include "support/test.h"

namespace userfault::conformance {
namespace {

std::uint32_t thread_in(const userfault_msg& message) { return message.arg.pagefault.feat.ptid; }

CONFORMANCE_TEST(FeatureThreadId, MessageNamesTheThread, "FEAT-08", Backings::kAll) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_THREAD_ID});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  for (const std::size_t page : {0u, 1u}) {
    Faulter faulter = Faulter::read(map.page(page));
    EXPECT_EQ(thread_in(uffd.expect_fault(map.page(page), 0)), static_cast<std::uint32_t>(faulter.tid()));
    uffd.fill_with_zeros(map.range(page, 1));
    faulter.join();
  }
}

CONFORMANCE_TEST(FeatureThreadId, WithoutItTheFieldIsZero, "FEAT-08", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  Faulter faulter = Faulter::read(map.page(0));
  EXPECT_EQ(thread_in(uffd.expect_fault(map.page(0), 0)), 0u);
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// UFFD_FEATURE_EXACT_ADDRESS: where in the page the access was.
#include "support/test.h"

namespace userfault::conformance {
namespace {

// Far into the page, and behind the first 4 KiB where pages are larger.
std::size_t offset_in(const Mapping& map) { return map.page_size() - 1024 + 24; }

void expect_address(const Context& ctx, std::uint64_t features, std::size_t offset) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx, {.features = features});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  for (const bool write : {false, true}) {
    const std::size_t page = write ? 1 : 0;
    char* const place = map.page(page) + offset_in(map);
    Faulter faulter = write ? Faulter::write(place, 1) : Faulter::read(place);
    uffd.expect_fault(map.page(page) + offset, write ? USERFAULT_PAGEFAULT_FLAG_WRITE : 0);
    uffd.fill_with_zeros(map.range(page, 1));
    faulter.join();
  }
}

CONFORMANCE_TEST(FeatureExactAddress, MessageHasTheAddressOfTheAccess, "FEAT-11", Backings::kAll) {
  expect_address(ctx, USERFAULT_FEATURE_EXACT_ADDRESS, offset_in(Mapping(ctx, 1)));
}

CONFORMANCE_TEST(FeatureExactAddress, WithoutItTheAddressIsThePages, "FEAT-11", Backings::kAll) {
  expect_address(ctx, 0, 0);
}

// A range that ends before the address that the message names wakes nobody, though it is of that page.
CONFORMANCE_TEST(FeatureExactAddress, WakesByTheAddressOfTheMessage, "FEAT-11 WAKE-01", Backings::kHugetlb) {
  constexpr std::size_t kHardwarePage = 4096;
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.features = USERFAULT_FEATURE_EXACT_ADDRESS});
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  Faulter faulter = Faulter::read(map.page(0) + offset_in(map));
  uffd.expect_fault(map.page(0) + offset_in(map), 0);
  Range part = map.all();
  part.length -= kHardwarePage;
  EXPECT_EQ(uffd.wake(part), Succeeds());
  faulter.expect_waiting();
  uffd.expect_no_message();
  part.length += kHardwarePage;
  EXPECT_EQ(uffd.wake(part), Succeeds());
  uffd.expect_fault(map.page(0) + offset_in(map), 0);
  uffd.fill_with_zeros(map.all());
  faulter.join();
}

}  // namespace
}  // namespace userfault::conformance

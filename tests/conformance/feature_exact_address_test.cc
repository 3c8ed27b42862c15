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

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
#include "support/modes.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

}  // namespace

std::uint64_t features_for(const Context& context, std::uint64_t modes) {
  const bool huge = is_hugetlb(context.backing);
  const bool anonymous = context.backing == Backing::kPrivateAnonymous || context.backing == Backing::kNone;
  std::uint64_t features = 0;
  if ((modes & kMissing) != 0 && !anonymous)
    features |= huge ? USERFAULT_FEATURE_MISSING_HUGETLBFS : USERFAULT_FEATURE_MISSING_SHMEM;
  if ((modes & kWp) != 0)
    features |= anonymous ? USERFAULT_FEATURE_PAGEFAULT_FLAG_WP : USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM;
  if ((modes & kMinor) != 0) features |= huge ? USERFAULT_FEATURE_MINOR_HUGETLBFS : USERFAULT_FEATURE_MINOR_SHMEM;
  return features;
}

void require_modes(const Context& context, std::uint64_t modes) { context.require(features_for(context, modes)); }

// Linux lists what the kind of memory can do and takes away what the modes leave no use for:
// WRITEPROTECT and CONTINUE. ZEROPAGE and MOVE do not exist on hugetlb.
std::uint64_t expected_ioctls(const Context& context, std::uint64_t modes) {
  std::uint64_t ioctls = bit(USERFAULT_NR_WAKE) | bit(USERFAULT_NR_COPY);
  if (!is_hugetlb(context.backing)) {
    ioctls |= bit(USERFAULT_NR_ZEROPAGE);
    if (context.has(USERFAULT_FEATURE_MOVE)) ioctls |= bit(USERFAULT_NR_MOVE);
  }
  if (context.has(USERFAULT_FEATURE_POISON)) ioctls |= bit(USERFAULT_NR_POISON);
  if ((modes & kWp) != 0) ioctls |= bit(USERFAULT_NR_WRITEPROTECT);
  if ((modes & kMinor) != 0) ioctls |= bit(USERFAULT_NR_CONTINUE);
  return ioctls;
}

}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// What memory can be made of, and sets of such backings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace userfault::conformance {

enum class Backing : std::uint32_t {
  kNone = 0,  // a test that is about no memory in particular
  kPrivateAnonymous = 1u << 0,
  kSharedAnonymous = 1u << 1,
  kMemfd = 1u << 2,
  kTmpfs = 1u << 3,
  kSystemV = 1u << 4,
  kDevZero = 1u << 5,
  kHugetlbShared = 1u << 6,
  kHugetlbPrivate = 1u << 7,
};

// A set of them, as a test names it.
enum class Backings : std::uint32_t {
  kNone = 0,
  kPrivate = 1u << 0,
  kSharedAnonymous = 1u << 1,
  kMemfd = 1u << 2,
  kTmpfs = 1u << 3,
  kSystemV = 1u << 4,
  kDevZero = 1u << 5,
  kHugetlbShared = 1u << 6,
  kHugetlbPrivate = 1u << 7,
  kShmem = kSharedAnonymous | kMemfd | kTmpfs | kDevZero,
  kHugetlb = kHugetlbShared | kHugetlbPrivate,
  kShared = kShmem | kHugetlbShared,  // those that have a second view
  kSmall = kPrivate | kShmem,         // 4 KiB pages
  // Without System V: the pages list it, but Linux refuses to register it (measured on 6.18: its
  // mappings have operations of their own, which is not what the check looks for). What holds for
  // it is in backing_test.cc.
  kAll = kSmall | kHugetlb,
};

constexpr Backings operator|(Backings a, Backings b) {
  return static_cast<Backings>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr bool contains(Backings set, Backing one) {
  return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(one)) != 0;
}

// The members of a set; {kNone} of the empty one.
[[nodiscard]] std::vector<Backing> members(Backings set);
// "private-anonymous", "memfd", … and "none".
[[nodiscard]] const char* name_of(Backing backing);
[[nodiscard]] std::size_t page_size_of(Backing backing);

constexpr bool is_hugetlb(Backing backing) { return contains(Backings::kHugetlb, backing); }
constexpr bool is_shared(Backing backing) { return contains(Backings::kShared | Backings::kSystemV, backing); }
constexpr bool is_shmem(Backing backing) { return contains(Backings::kShmem, backing); }

}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
#include "support/backing.h"

#include <unistd.h>

#include <array>

namespace userfault::conformance {
namespace {

struct Named {
  Backing backing;
  const char* name;
};

constexpr std::array kNames{
    Named{Backing::kPrivateAnonymous, "private-anonymous"},
    Named{Backing::kSharedAnonymous, "shared-anonymous"},
    Named{Backing::kMemfd, "memfd"},
    Named{Backing::kTmpfs, "tmpfs"},
    Named{Backing::kSystemV, "sysv"},
    Named{Backing::kDevZero, "dev-zero"},
    Named{Backing::kHugetlbShared, "hugetlb-shared"},
    Named{Backing::kHugetlbPrivate, "hugetlb-private"},
};

}  // namespace

std::vector<Backing> members(Backings set) {
  std::vector<Backing> result;
  for (const Named& named : kNames)
    if (contains(set, named.backing)) result.push_back(named.backing);
  if (result.empty()) result.push_back(Backing::kNone);
  return result;
}

const char* name_of(Backing backing) {
  for (const Named& named : kNames)
    if (named.backing == backing) return named.name;
  return "none";
}

std::size_t page_size_of(Backing backing) {
  // 2 MiB is the huge page size that x86-64 and AArch64 with 4 KiB pages have in common.
  if (is_hugetlb(backing)) return std::size_t{2} << 20;
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace userfault::conformance

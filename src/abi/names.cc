// SPDX-License-Identifier: Apache-2.0
#include "abi/names.h"

#include <array>

#include "userfault/abi.h"

namespace userfault::abi {
namespace {

// The versions are those of the kernel's history; ioctl_userfaultfd(2) agrees but for
// PAGEFAULT_FLAG_WP, which it gives as 5.10 and the kernel has had since 5.7.
constexpr std::array kFeatures{
    Name{USERFAULT_FEATURE_PAGEFAULT_FLAG_WP, "PAGEFAULT_FLAG_WP", {5, 7}},
    Name{USERFAULT_FEATURE_EVENT_FORK, "EVENT_FORK", {4, 11}},
    Name{USERFAULT_FEATURE_EVENT_REMAP, "EVENT_REMAP", {4, 11}},
    Name{USERFAULT_FEATURE_EVENT_REMOVE, "EVENT_REMOVE", {4, 11}},
    Name{USERFAULT_FEATURE_MISSING_HUGETLBFS, "MISSING_HUGETLBFS", {4, 11}},
    Name{USERFAULT_FEATURE_MISSING_SHMEM, "MISSING_SHMEM", {4, 11}},
    Name{USERFAULT_FEATURE_EVENT_UNMAP, "EVENT_UNMAP", {4, 11}},
    Name{USERFAULT_FEATURE_SIGBUS, "SIGBUS", {4, 14}},
    Name{USERFAULT_FEATURE_THREAD_ID, "THREAD_ID", {4, 14}},
    Name{USERFAULT_FEATURE_MINOR_HUGETLBFS, "MINOR_HUGETLBFS", {5, 13}},
    Name{USERFAULT_FEATURE_MINOR_SHMEM, "MINOR_SHMEM", {5, 14}},
    Name{USERFAULT_FEATURE_EXACT_ADDRESS, "EXACT_ADDRESS", {5, 18}},
    Name{USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM, "WP_HUGETLBFS_SHMEM", {5, 19}},
    Name{USERFAULT_FEATURE_WP_UNPOPULATED, "WP_UNPOPULATED", {6, 4}},
    Name{USERFAULT_FEATURE_POISON, "POISON", {6, 6}},
    Name{USERFAULT_FEATURE_WP_ASYNC, "WP_ASYNC", {6, 7}},
    Name{USERFAULT_FEATURE_MOVE, "MOVE", {6, 8}},
};
static_assert(kFeatures.size() == USERFAULT_FEATURE_COUNT);

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

constexpr std::array kOperations{
    Name{bit(USERFAULT_NR_REGISTER), "REGISTER", {4, 3}},
    Name{bit(USERFAULT_NR_UNREGISTER), "UNREGISTER", {4, 3}},
    Name{bit(USERFAULT_NR_WAKE), "WAKE", {4, 3}},
    Name{bit(USERFAULT_NR_COPY), "COPY", {4, 3}},
    Name{bit(USERFAULT_NR_ZEROPAGE), "ZEROPAGE", {4, 3}},
    Name{bit(USERFAULT_NR_MOVE), "MOVE", {6, 8}},
    Name{bit(USERFAULT_NR_WRITEPROTECT), "WRITEPROTECT", {5, 7}},
    Name{bit(USERFAULT_NR_CONTINUE), "CONTINUE", {5, 13}},
    Name{bit(USERFAULT_NR_POISON), "POISON", {6, 6}},
    Name{bit(USERFAULT_NR_API), "API", {4, 3}},
};

constexpr std::array kModes{
    Name{USERFAULT_REGISTER_MODE_MISSING, "MISSING", {4, 3}},
    Name{USERFAULT_REGISTER_MODE_WP, "WP", {5, 7}},
    Name{USERFAULT_REGISTER_MODE_MINOR, "MINOR", {5, 13}},
};

}  // namespace

std::span<const Name> features() noexcept { return kFeatures; }
std::span<const Name> operations() noexcept { return kOperations; }
std::span<const Name> modes() noexcept { return kModes; }

}  // namespace userfault::abi

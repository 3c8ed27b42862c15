// SPDX-License-Identifier: Apache-2.0
// Kernels that do not let /proc/self/mem pass protection (proc_mem.force_override, Linux 6.12): a seccomp
// filter answers as they do, EIO.
#include "refusal.h"
#include "user_support.h"

namespace userfault::test {
namespace {

bool refuse_pwrite() { return refusal::filter_call(SYS_pwrite64, SECCOMP_RET_ERRNO | EIO); }

TEST(UserNoForce, MemoryThatIsOnlyProtectedIsFilledAllTheSame) {
  const pid_t child = start_child([] {
    const Served served(6, USERFAULT_FEATURE_WP_UNPOPULATED, USERFAULT_REGISTER_MODE_WP);
    const auto protect = [&](std::size_t page, std::uint64_t mode) {
      return userfault_ioctl_writeprotect(served.fd, served.page(page), kPage, mode) == 0;
    };
    *served.page(3) = 3;
    if (!protect(1, USERFAULT_WRITEPROTECT_MODE_WP) || !refuse_pwrite()) return 1;
    for (const std::size_t page : {0, 2})
      if (served.copy(page) != 0 || served.copy(page) != EEXIST) return 2;
    if (served.content(0) != Content::kPattern || served.content(2) != Content::kPattern) return 3;
    if (served.copy(3) != EEXIST || *served.page(3) != 3 || *served.page(5) != 0) return 4;
    // It is the program's as before: written to, protected, and part of what it unmaps.
    *served.page(0) = 9;
    if (!protect(2, USERFAULT_WRITEPROTECT_MODE_WP) || !protect(2, 0)) return 5;
    *served.page(2) = 9;
    return *served.page(0) == 9 && userfault_munmap(served.page(0), 3 * kPage) == 0 ? 0 : 6;
  });
  EXPECT_EQ(status_of(child), 0);
}

TEST(UserNoForce, ASourceThatCannotBeReadIsEfault) {
  const pid_t child = start_child([] {
    const Served served(2, 0, USERFAULT_REGISTER_MODE_WP);
    if (!refuse_pwrite()) return 1;
    void* const nothing = ::mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (userfault_ioctl_copy(served.fd, served.page(0), nothing, kPage, 0, nullptr) != -1 || errno != EFAULT) return 2;
    return served.copy(0) == 0 && served.content(0) == Content::kPattern && *served.page(1) == 0 ? 0 : 3;
  });
  EXPECT_EQ(status_of(child), 0);
}

}  // namespace
}  // namespace userfault::test

// SPDX-License-Identifier: Apache-2.0
// What holds for a kind of memory as a whole.
#include <sys/ipc.h>
#include <sys/shm.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "support/test.h"

namespace userfault::conformance {
namespace {

// The pages list System V among the shared memory that FEATURE_MISSING_SHMEM is about. Linux does
// not take it in any mode (measured on 6.18), and the kernel is what counts.
CONFORMANCE_TEST(Backing, SystemVIsRefused, "FEAT-05 REG-09 REAL-53", Backings::kSystemV) {
  Mapping map(ctx, 2);
  Uffd uffd(ctx);
  for (const std::uint64_t mode :
       {USERFAULT_REGISTER_MODE_MISSING, USERFAULT_REGISTER_MODE_WP, USERFAULT_REGISTER_MODE_MINOR})
    EXPECT_EQ(uffd.register_range(map.all(), mode), Fails(EINVAL)) << "mode " << mode;
}

CONFORMANCE_TEST(Backing, SystemVOfHugePages, "FEAT-05 FEAT-04 REAL-53", Backings::kNone) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const int id = ::shmget(IPC_PRIVATE, kHugePage, IPC_CREAT | SHM_HUGETLB | 0600);
  if (id < 0) throw Skip(std::string("no System V segment of huge pages: ") + std::strerror(errno));
  auto* view = static_cast<char*>(::shmat(id, nullptr, 0));
  ::shmctl(id, IPC_RMID, nullptr);
  Uffd uffd(ctx);
  const Range all{reinterpret_cast<std::uintptr_t>(view), kHugePage};
  EXPECT_EQ(uffd.register_range(all, kMissing).result, 0);
  Faulter faulter = expect_read_faults(uffd, view);
  const auto source = pattern(kHugePage, 1);
  EXPECT_EQ(uffd.copy(all, source.data()), Done(kHugePage));
  EXPECT_EQ(faulter.join().value, pattern_word(1, 0));
  expect_pattern(view, kHugePage, 1);
}

}  // namespace
}  // namespace userfault::conformance

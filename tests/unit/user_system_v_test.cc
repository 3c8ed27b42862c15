// SPDX-License-Identifier: Apache-2.0
// System V memory is refused as the kernel refuses it (REAL-53), whatever its identifier is.
#include <sched.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "user_support.h"

namespace userfault::test {
namespace {

// The inode number of a segment is its identifier; the first one of a namespace has 0, as memory without an
// object has.
TEST(UserSystemV, TheFirstSegmentIsRefusedToo) {
  constexpr int kNoNamespace = 77;
  const pid_t child = start_child([] {
    if (::unshare(CLONE_NEWIPC) != 0) return kNoNamespace;
    const int id = ::shmget(IPC_PRIVATE, kPage, IPC_CREAT | 0600);
    if (id != 0) return 1;
    void* const view = ::shmat(id, nullptr, 0);
    ::shmctl(id, IPC_RMID, nullptr);
    const int fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || userfault_ioctl_api(fd, 0, nullptr, nullptr) != 0) return 2;
    for (const std::uint64_t mode : {USERFAULT_REGISTER_MODE_MISSING, USERFAULT_REGISTER_MODE_WP})
      if (userfault_ioctl_register(fd, view, kPage, mode, nullptr) != -1 || errno != EINVAL) return 3;
    return 0;
  });
  const int status = status_of(child);
  if (status == kNoNamespace) GTEST_SKIP() << "a namespace of its own for IPC needs root";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace userfault::test

// SPDX-License-Identifier: Apache-2.0
// userfaultfd(2): its flags, and who may say no.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

#include "support/events.h"
#include "support/privilege.h"
#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;

CONFORMANCE_TEST(DescriptorOpen, CloseOnExec, "FD-01", Backings::kNone) {
  for (const int flag : {0, O_CLOEXEC}) {
    const Uffd uffd(userfault_open(ctx.engine, flag | ctx.open_flags));
    ASSERT_GE(uffd.fd(), 0);
    EXPECT_EQ(::fcntl(uffd.fd(), F_GETFD), flag == 0 ? 0 : FD_CLOEXEC);
  }
}

CONFORMANCE_TEST(DescriptorOpen, Nonblocking, "FD-01", Backings::kNone) {
  for (const int flag : {0, O_NONBLOCK}) {
    const Uffd uffd(userfault_open(ctx.engine, O_CLOEXEC | flag | ctx.open_flags));
    ASSERT_GE(uffd.fd(), 0);
    EXPECT_EQ(::fcntl(uffd.fd(), F_GETFL) & O_NONBLOCK, flag);
  }
}

CONFORMANCE_TEST(DescriptorOpen, UserModeOnlyServesThreads, "FD-01", Backings::kAll) {
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.flags = USERFAULT_USER_MODE_ONLY});
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  fill_page(uffd, map, 0, 3);
  EXPECT_EQ(faulter.join().value, pattern_word(3, 0));
}

CONFORMANCE_TEST(DescriptorOpen, UnknownFlagIsInvalid, "FD-01", Backings::kNone) {
  for (const int flag : {O_APPEND, O_RDWR, 2 | O_CLOEXEC, 1 << 30}) {
    EXPECT_EQ(userfault_open(ctx.engine, flag | ctx.open_flags), -1) << std::hex << flag;
    EXPECT_EQ(errno, EINVAL) << std::hex << flag;
  }
}

CONFORMANCE_TEST(DescriptorOpen, EachOpenIsAnother, "FD-01 REG-06", Backings::kPrivate) {
  Mapping map(ctx, 1);
  Uffd first(ctx);
  Uffd second(ctx);
  EXPECT_NE(first.fd(), second.fd());
  first.must_register(map.all(), kMissing);
  EXPECT_EQ(second.register_range(map.all(), kMissing), Fails(EBUSY));
}

// A process that lacks CAP_SYS_PTRACE while the sysctl forbids: the device is the other door.
CONFORMANCE_TEST(DescriptorOpen, FallsBackToTheDevice, "REAL-26", Backings::kPrivate) {
  if (ctx.stand_in) GTEST_SKIP() << "a stand-in goes through no door of the kernel's";
  int sysctl = -1;
  std::ifstream("/proc/sys/vm/unprivileged_userfaultfd") >> sysctl;
  if (sysctl != 0) GTEST_SKIP() << "vm.unprivileged_userfaultfd does not refuse anybody here";
  if (::access("/dev/userfaultfd", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/userfaultfd is shut to this user";
  drop_capability(CAP_SYS_PTRACE);
  ASSERT_EQ(::syscall(SYS_userfaultfd, O_CLOEXEC), -1);
  ASSERT_EQ(errno, EPERM);
  Mapping map(ctx, 1);
  Uffd uffd(ctx, {.flags = 0});
  uffd.must_register(map.all(), kMissing);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  fill_page(uffd, map, 0, 3);
  faulter.join();
}

// What a container's profile or Android's answers. Opening lives through all of them, and says so
// with an errno, or goes another way and works.
void expect_survives(const Context& ctx, std::uint32_t action) {
  ChildProcess child([&](int) {
    filter_system_call(SYS_userfaultfd, action);
    const int fd = userfault_open(ctx.engine, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
      const int expected =
          (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO ? static_cast<int>(action & SECCOMP_RET_DATA) : EPERM;
      EXPECT_EQ(errno, expected);
      return;
    }
    userfault_api api{USERFAULT_API, 0, 0};
    EXPECT_EQ(userfault_ioctl(fd, USERFAULT_IOC_API, &api), 0);
  });
  child.join();
}

CONFORMANCE_TEST(DescriptorOpen, SeccompEperm, "REAL-27", Backings::kNone) {
  expect_survives(ctx, SECCOMP_RET_ERRNO | EPERM);
}
CONFORMANCE_TEST(DescriptorOpen, SeccompEnosys, "REAL-27", Backings::kNone) {
  expect_survives(ctx, SECCOMP_RET_ERRNO | ENOSYS);
}
CONFORMANCE_TEST(DescriptorOpen, SeccompKillsTheProcess, "REAL-27", Backings::kNone) {
  expect_survives(ctx, SECCOMP_RET_KILL_PROCESS);
}
CONFORMANCE_TEST(DescriptorOpen, SeccompKillsTheThread, "REAL-27", Backings::kNone) {
  expect_survives(ctx, SECCOMP_RET_KILL_THREAD);
}
CONFORMANCE_TEST(DescriptorOpen, SeccompTraps, "REAL-27", Backings::kNone) { expect_survives(ctx, SECCOMP_RET_TRAP); }

}  // namespace
}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// /dev/userfaultfd and USERFAULTFD_IOC_NEW, asked without the library.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "support/events.h"
#include "support/privilege.h"
#include "support/process.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

constexpr const char* kDevice = "/dev/userfaultfd";

int open_device(const Context& ctx) {
  ctx.differs_unless_preloaded("FD-02: the device is the kernel's; `userfault run` answers for it");
  const int device = ::open(kDevice, O_RDWR | O_CLOEXEC);
  if (device < 0) throw Skip(std::string(kDevice) + ": " + std::strerror(errno));
  return device;
}

CONFORMANCE_TEST(DescriptorDevice, MakesADescriptor, "FD-02", Backings::kAll) {
  const int device = open_device(ctx);
  Uffd uffd(::ioctl(device, USERFAULT_DEV_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
  ASSERT_GE(uffd.fd(), 0);
  ::close(device);
  EXPECT_EQ(::fcntl(uffd.fd(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(uffd.fd(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  userfault_api api{USERFAULT_API, 0, 0};
  ASSERT_EQ(uffd.raw(USERFAULT_IOC_API, &api), Succeeds());
  EXPECT_EQ(api.features, ctx.features);
  Mapping map(ctx, 1);
  uffd.must_register(map.all(), USERFAULT_REGISTER_MODE_MISSING);
  Faulter faulter = expect_read_faults(uffd, map.page(0));
  fill_page(uffd, map, 0, 3);
  faulter.join();
}

CONFORMANCE_TEST(DescriptorDevice, UnknownFlagOrRequest, "FD-02", Backings::kNone) {
  const int device = open_device(ctx);
  EXPECT_EQ(::ioctl(device, USERFAULT_DEV_IOC_NEW, O_APPEND), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(::ioctl(device, USERFAULT_DEV_IOC_NEW + 1, 0), -1);
  EXPECT_EQ(errno, EINVAL);
}

CONFORMANCE_TEST(DescriptorDevice, IgnoresTheSysctlAndTheCapability, "REAL-26 FD-02", Backings::kNone) {
  const int device = open_device(ctx);
  drop_capability(CAP_SYS_PTRACE);
  const Uffd uffd(::ioctl(device, USERFAULT_DEV_IOC_NEW, O_CLOEXEC));
  EXPECT_GE(uffd.fd(), 0);
}

// That the node exists does not mean that it can be opened: its mode decides, at the open.
CONFORMANCE_TEST(DescriptorDevice, ModeShutsOthersOut, "REAL-26", Backings::kNone) {
  const int device = open_device(ctx);
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  struct stat node {};
  ASSERT_EQ(::fstat(device, &node), 0);
  if ((node.st_mode & (S_IROTH | S_IWOTH)) != 0) GTEST_SKIP() << "/dev/userfaultfd is open to others here";
  ChildProcess child([&](int) {
    ASSERT_EQ(::setresgid(65534, 65534, 65534), 0);
    ASSERT_EQ(::setresuid(65534, 65534, 65534), 0);
    EXPECT_EQ(::open(kDevice, O_RDWR | O_CLOEXEC), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_GE(::ioctl(device, USERFAULT_DEV_IOC_NEW, O_CLOEXEC), 0) << "who has it open may use it";
  });
  child.join();
}

}  // namespace
}  // namespace userfault::conformance

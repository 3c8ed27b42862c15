// SPDX-License-Identifier: Apache-2.0
// Opening, the handshake, ownership, adopting. API-01 to API-09, REAL-01, REAL-20, FD-03.
#include <fcntl.h>
#include <sys/ioctl.h>

#include <array>
#include <thread>
#include <utility>

#include "api_support.h"
#include "child.h"
#include "userfault/userfault.h"

namespace userfault::test {
namespace {

class ApiOpen : public ApiTest {};
USERFAULT_ON_BOTH_ENGINES(ApiOpen);

TEST_P(ApiOpen, NothingAskedForNothingEnabled) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  EXPECT_GE(descriptor->fd(), 0);
  EXPECT_EQ(descriptor->engine(), GetParam());
  EXPECT_TRUE(descriptor->features().empty());
  EXPECT_FALSE(descriptor->available().empty());
  EXPECT_NE(::fcntl(descriptor->fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(descriptor->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

// Each of the 17, and all that are offered together.
TEST_P(ApiOpen, EveryOfferedFeatureCanBeEnabled) {
  int enabled = 0;
  for (int bit = 0; bit < USERFAULT_FEATURE_COUNT; ++bit) {
    const Features feature{std::uint64_t{1} << bit};
    if (!available_.has(feature)) continue;
    const auto descriptor = Descriptor::open({.engine = GetParam(), .required = feature});
    if (!descriptor && feature == feature::kEventFork && descriptor.error().code == EPERM) continue;
    ASSERT_TRUE(descriptor) << "bit " << bit << ": " << why(descriptor);
    EXPECT_EQ(descriptor->features(), feature);
    EXPECT_EQ(descriptor->available(), available_);
    ++enabled;
  }
  EXPECT_GE(enabled, 8);
  const auto all = Descriptor::open({.engine = GetParam(), .wanted = feature::kAll - feature::kEventFork});
  ASSERT_TRUE(all) << why(all);
  EXPECT_EQ(all->features(), available_ - feature::kEventFork);
}

TEST_P(ApiOpen, MissingRequiredFeatureIsNamed) {
  const Features unknown{std::uint64_t{1} << 40};
  const auto required = Descriptor::open({.engine = GetParam(), .required = unknown});
  ASSERT_FALSE(required);
  EXPECT_EQ(required.error().code, EINVAL);
  EXPECT_EQ(required.error().operation, Operation::kApi);
  const auto wanted = Descriptor::open({.engine = GetParam(), .wanted = unknown});
  ASSERT_TRUE(wanted) << why(wanted);
  EXPECT_TRUE(wanted->features().empty());
}

// REAL-01: the handshake works once, which is why open() probes on a descriptor of its own.
TEST_P(ApiOpen, SecondHandshakeIsRefused) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  std::uint64_t features = 1;
  EXPECT_EQ(userfault_ioctl_api(descriptor->fd(), 0, &features, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(features, 0u);
}

TEST_P(ApiOpen, FailedHandshakeDoesNotLock) {
  const auto engine = GetParam() == EngineKind::kUser ? USERFAULT_ENGINE_USER : USERFAULT_ENGINE_KERNEL;
  const int fd = userfault_open(engine, O_CLOEXEC | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  std::uint64_t features = 0;
  EXPECT_EQ(userfault_ioctl_api(fd, std::uint64_t{1} << 40, nullptr, nullptr), -1);
  EXPECT_EQ(userfault_ioctl_api(fd, 0, &features, nullptr), 0);
  EXPECT_EQ(Features(features), available_);
  EXPECT_EQ(userfault_close(fd), 0);
}

TEST_P(ApiOpen, MovingLeavesNothingBehind) {
  auto first = open();
  ASSERT_TRUE(first);
  const int fd = first->fd();
  Descriptor second = std::move(*first);
  EXPECT_EQ(second.fd(), fd);
  EXPECT_EQ(first->fd(), -1);
  auto third = open();
  ASSERT_TRUE(third);
  const int replaced = third->fd();
  *third = std::move(second);
  EXPECT_EQ(third->fd(), fd);
  EXPECT_EQ(::fcntl(replaced, F_GETFD), -1) << "the replaced descriptor is still open";
}

TEST_P(ApiOpen, ClosedDescriptorSaysSo) {
  auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const int fd = descriptor->fd();
  descriptor->close();
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
  EXPECT_EQ(descriptor->wake({kPage, kPage}).error().code, EBADF);
  EXPECT_EQ(descriptor->wait(std::chrono::milliseconds(0)).error().code, EBADF);
  Message message;
  EXPECT_EQ(descriptor->read({&message, 1}).error().code, EBADF);
}

TEST_P(ApiOpen, AdoptTakesOverWithFeatures) {
  auto original = open(feature::kEventRemap | feature::kEventUnmap);
  if (!original) GTEST_SKIP() << lacks(feature::kEventRemap | feature::kEventUnmap);
  const auto adopted = Descriptor::adopt(::dup(original->fd()));
  ASSERT_TRUE(adopted) << why(adopted);
  EXPECT_EQ(adopted->engine(), GetParam());
  if (GetParam() == EngineKind::kKernel) {
    EXPECT_EQ(adopted->features(), original->features());
  }
  const Memory memory(kPage);
  ASSERT_TRUE(original->register_range(memory.range(), mode::kMissing));
  original->close();
  EXPECT_TRUE(adopted->zeropage(memory.range())) << "the copy keeps the userfaultfd alive";
  // Unmapping it while it is registered would wait for a reader of the event.
  EXPECT_TRUE(adopted->unregister(memory.range()));
}

TEST_P(ApiOpen, AdoptRefusesStrangers) {
  EXPECT_EQ(Descriptor::adopt(-1).error().code, EBADF);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_EQ(Descriptor::adopt(ends[0]).error().code, EINVAL);
  EXPECT_EQ(::fcntl(ends[0], F_GETFD), 0) << "a refused descriptor stays the caller's";
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_P(ApiOpen, ReleaseGivesTheNumberAway) {
  auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const int fd = descriptor->release();
  EXPECT_EQ(descriptor->fd(), -1);
  descriptor->close();
  EXPECT_EQ(userfault_engine_of(fd), GetParam() == EngineKind::kUser ? USERFAULT_ENGINE_USER : USERFAULT_ENGINE_KERNEL);
  EXPECT_EQ(userfault_close(fd), 0);
}

// REAL-20
TEST_P(ApiOpen, BlockingDescriptorCannotBeWaitedFor) {
  const auto descriptor = Descriptor::open({.engine = GetParam(), .nonblocking = false});
  ASSERT_TRUE(descriptor) << why(descriptor);
  EXPECT_EQ(descriptor->wait(std::chrono::milliseconds(-1)).error().code, EINVAL);
}

TEST_P(ApiOpen, WaitRunsOut) {
  const auto descriptor = open();
  ASSERT_TRUE(descriptor);
  const auto before = std::chrono::steady_clock::now();
  const auto ready = descriptor->wait(std::chrono::milliseconds(20));
  ASSERT_TRUE(ready) << why(ready);
  EXPECT_FALSE(*ready);
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(20));
}

// Somebody without a privilege, where vm.unprivileged_userfaultfd is 0: kIfNeeded finds the way.
TEST(ApiOpenUnprivileged, UserModeOnlyIsAskedForWhenNeeded) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  const ChildEnd end = run_in_child([](Report report) {
    if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
    using Only = OpenOptions::UserModeOnly;
    const auto plain = Descriptor::open({.engine = EngineKind::kKernel, .user_mode_only = Only::kNo});
    const auto needed = Descriptor::open({.engine = EngineKind::kKernel, .user_mode_only = Only::kIfNeeded});
    report(plain ? 0 : plain.error().code);
    report(needed ? 0 : needed.error().code);
  });
  ASSERT_TRUE(end.exited(0)) << end.status;
  const auto codes = end.as<std::array<int, 2>>();
  if (codes[0] == 0) GTEST_SKIP() << "vm.unprivileged_userfaultfd is 1: nothing is refused";
  EXPECT_EQ(codes[0], EPERM);
  EXPECT_EQ(codes[1], 0);
}

}  // namespace
}  // namespace userfault::test

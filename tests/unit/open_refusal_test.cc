// SPDX-License-Identifier: Apache-2.0
// Opening under every refusal that can be set up here, for real: the process lives, the error names
// who refused, and the automatic engine goes on to ours.
#include <fcntl.h>
#include <signal.h>

#include <string>
#include <thread>

#include "engine/kernel/seccomp_probe.h"
#include "engine/open_methods.h"
#include "refusal.h"
#include "userfault/descriptor.h"
#include "userfault/userfault.h"

namespace userfault {
namespace {

using engine::OpenMethod;
using refusal::become_nobody;
using refusal::filter_device;
using refusal::filter_userfaultfd;
using refusal::in_child;

bool ours_opens() {
  const int fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC);
  if (fd >= 0) userfault_close(fd);
  return fd >= 0;
}

// With both ways shut: the kernel's engine says who, and the automatic one is ours, or says it too.
bool refused_by(Refuser refuser, int code) {
  const auto kernel = Descriptor::open({.engine = EngineKind::kKernel});
  REFUSAL_CHECK(!kernel);
  REFUSAL_CHECK(kernel.error().operation == Operation::kOpen);
  if (kernel.error().code != code || kernel.error().refused_by != refuser)
    std::fprintf(stderr, "expected errno %d by %s, got: %s\n", code, name_of(refuser),
                 kernel.error().message().c_str());
  REFUSAL_CHECK(kernel.error().code == code);
  REFUSAL_CHECK(kernel.error().refused_by == refuser);
  REFUSAL_CHECK(kernel.error().message().find(name_of(refuser)) != std::string::npos);
  REFUSAL_CHECK(kernel.error().message().find(advice_for(refuser)) != std::string::npos);

  const auto automatic = Descriptor::open();
  REFUSAL_CHECK(automatic.has_value() == ours_opens());
  REFUSAL_CHECK(!automatic || automatic->engine() == EngineKind::kUser);
  REFUSAL_CHECK(automatic || automatic.error().refused_by == refuser);
  const int fd = userfault_open(USERFAULT_ENGINE_AUTO, O_CLOEXEC);
  REFUSAL_CHECK((fd >= 0) == ours_opens());
  REFUSAL_CHECK(fd >= 0 || errno == code);
  return true;
}

bool under_filter(std::uint32_t action, int code) {
  return in_child([=] {
    REFUSAL_CHECK(filter_device(SECCOMP_RET_ERRNO | EPERM));
    REFUSAL_CHECK(filter_userfaultfd(action));
    return refused_by(Refuser::kSeccomp, code);
  });
}

TEST(OpenRefusal, SeccompEperm) { EXPECT_TRUE(under_filter(SECCOMP_RET_ERRNO | EPERM, EPERM)); }
TEST(OpenRefusal, SeccompEnosys) { EXPECT_TRUE(under_filter(SECCOMP_RET_ERRNO | ENOSYS, ENOSYS)); }
TEST(OpenRefusal, SeccompEinval) { EXPECT_TRUE(under_filter(SECCOMP_RET_ERRNO | EINVAL, EINVAL)); }
TEST(OpenRefusal, SeccompKillsTheProcess) { EXPECT_TRUE(under_filter(SECCOMP_RET_KILL_PROCESS, EPERM)); }
TEST(OpenRefusal, SeccompKillsTheThread) { EXPECT_TRUE(under_filter(SECCOMP_RET_KILL_THREAD, EPERM)); }
TEST(OpenRefusal, SeccompTraps) { EXPECT_TRUE(under_filter(SECCOMP_RET_TRAP, EPERM)); }

// A handler for SIGSYS that a program has (sandboxes do) must not run: not here, not in the child.
TEST(OpenRefusal, SeccompTrapsAndTheProgramHandlesSigsys) {
  EXPECT_TRUE(in_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) { ::_exit(3); };
    REFUSAL_CHECK(::sigaction(SIGSYS, &action, nullptr) == 0);
    REFUSAL_CHECK(filter_device(SECCOMP_RET_TRAP));
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_TRAP));
    return refused_by(Refuser::kSeccomp, EPERM);
  }));
}

// A filter that comes after a first open was fine: what was learned before must not be trusted.
TEST(OpenRefusal, KillingFilterAfterAnOpenThatWorked) {
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_ALLOW));
    REFUSAL_CHECK(engine::ask(OpenMethod::kDevice, 0).signal == 0);
    REFUSAL_CHECK(engine::ask(OpenMethod::kSyscall, 0).signal == 0);
    REFUSAL_CHECK(filter_device(SECCOMP_RET_KILL_PROCESS));
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_KILL_PROCESS));
    REFUSAL_CHECK(engine::ask(OpenMethod::kSyscall, 0).signal == SIGSYS);
    return refused_by(Refuser::kSeccomp, EPERM);
  }));
}

// Filters are a thread's: one thread that may not ask says nothing about another.
TEST(OpenRefusal, KillingFilterInOneThreadOnly) {
  EXPECT_TRUE(in_child([] {
    const int before = engine::ask(OpenMethod::kSyscall, USERFAULT_USER_MODE_ONLY).error;
    int in_thread = 0;
    std::thread([&] {
      if (!filter_userfaultfd(SECCOMP_RET_KILL_PROCESS)) return;
      in_thread = engine::ask(OpenMethod::kSyscall, USERFAULT_USER_MODE_ONLY).signal;
    }).join();
    REFUSAL_CHECK(in_thread == SIGSYS);
    const auto after = engine::ask(OpenMethod::kSyscall, USERFAULT_USER_MODE_ONLY);
    REFUSAL_CHECK(after.signal == 0 && after.error == before);
    return true;
  }));
}

// A filter on one method leaves the other: the descriptor comes through the device.
TEST(OpenRefusal, SeccompOnTheCallLeavesTheDevice) {
  if (::access("/dev/userfaultfd", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/userfaultfd is shut to this user";
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_KILL_PROCESS));
    const auto kernel = Descriptor::open({.engine = EngineKind::kKernel});
    REFUSAL_CHECK(kernel.has_value());
    REFUSAL_CHECK(userfault_engine_of(kernel->fd()) == USERFAULT_ENGINE_KERNEL);
    return true;
  }));
}

// The child that asks is invisible: no SIGCHLD, nothing for wait(2), no descriptor left.
TEST(OpenRefusal, RehearsalLeavesNoTrace) {
  EXPECT_TRUE(in_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) { ::_exit(4); };
    REFUSAL_CHECK(::sigaction(SIGCHLD, &action, nullptr) == 0);
    const int next = ::dup(0);
    ::close(next);
    const auto answer = engine::kernel::ask_in_child(OpenMethod::kSyscall, USERFAULT_USER_MODE_ONLY);
    REFUSAL_CHECK(answer.error == engine::ask(OpenMethod::kSyscall, USERFAULT_USER_MODE_ONLY).error);
    REFUSAL_CHECK(::waitpid(-1, nullptr, __WALL) == -1 && errno == ECHILD);
    REFUSAL_CHECK(::dup(0) == next);
    sigset_t mask;
    REFUSAL_CHECK(::sigprocmask(SIG_SETMASK, nullptr, &mask) == 0 && ::sigismember(&mask, SIGTERM) == 0);
    return true;
  }));
}

TEST(OpenRefusal, SysctlForAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  if (refusal::sysctl_value() != 0) GTEST_SKIP() << "vm.unprivileged_userfaultfd is not 0 on this machine";
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(become_nobody());
    const auto kernel =
        Descriptor::open({.engine = EngineKind::kKernel, .user_mode_only = OpenOptions::UserModeOnly::kNo});
    REFUSAL_CHECK(!kernel && kernel.error().code == EPERM);
    REFUSAL_CHECK(kernel.error().refused_by == Refuser::kSysctl);
    return true;
  }));
}

// The second try with USER_MODE_ONLY, which the sysctl does not forbid (Linux 5.11).
TEST(OpenRefusal, SysctlForAnotherUserAndUserModeOnlyIfNeeded) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  if (refusal::sysctl_value() != 0) GTEST_SKIP() << "vm.unprivileged_userfaultfd is not 0 on this machine";
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(become_nobody());
    const auto kernel = Descriptor::open({.engine = EngineKind::kKernel});
    REFUSAL_CHECK(kernel.has_value() && kernel->engine() == EngineKind::kKernel);
    return true;
  }));
}

// Both would refuse; the filter is the one that USER_MODE_ONLY shows.
TEST(OpenRefusal, SeccompAndSysctlTogether) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  if (refusal::sysctl_value() != 0) GTEST_SKIP() << "vm.unprivileged_userfaultfd is not 0 on this machine";
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(become_nobody());
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_ERRNO | EPERM));
    return refused_by(Refuser::kSeccomp, EPERM);
  }));
}

// A filter that has nothing to do with it: the sysctl is named, not the filter.
TEST(OpenRefusal, HarmlessFilterAndSysctl) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  if (refusal::sysctl_value() != 0) GTEST_SKIP() << "vm.unprivileged_userfaultfd is not 0 on this machine";
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(become_nobody());
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_ALLOW));
    const auto kernel =
        Descriptor::open({.engine = EngineKind::kKernel, .user_mode_only = OpenOptions::UserModeOnly::kNo});
    REFUSAL_CHECK(!kernel && kernel.error().refused_by == Refuser::kSysctl);
    return true;
  }));
}

TEST(OpenRefusal, DeviceModeForAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  EXPECT_TRUE(in_child([] {
    const auto as_root = engine::ask(OpenMethod::kDevice, 0);
    REFUSAL_CHECK(become_nobody());
    const auto answer = engine::ask(OpenMethod::kDevice, 0);
    // On a machine that opened the device to everyone, or has none, there is nothing to refuse.
    if (answer.opens() || as_root.error == ENOENT) return true;
    REFUSAL_CHECK(answer.error == EACCES);
    REFUSAL_CHECK(engine::who_refused(OpenMethod::kDevice, 0, answer) == Refuser::kDeviceMode);
    return true;
  }));
}

TEST(OpenRefusal, TooManyDescriptors) {
  EXPECT_TRUE(in_child([] {
    while (::dup(0) >= 0) continue;
    REFUSAL_CHECK(errno == EMFILE);
    const auto kernel = Descriptor::open({.engine = EngineKind::kKernel});
    REFUSAL_CHECK(!kernel);
    REFUSAL_CHECK(kernel.error().code == EMFILE && kernel.error().refused_by == Refuser::kLimit);
    return true;
  }));
}

// When ours fails as well, the kernel's reason is the one that is told.
TEST(OpenRefusal, BothEnginesFail) {
  EXPECT_TRUE(in_child([] {
    REFUSAL_CHECK(filter_userfaultfd(SECCOMP_RET_ERRNO | EPERM));
    while (::dup(0) >= 0) continue;
    REFUSAL_CHECK(!ours_opens());
    const auto automatic = Descriptor::open();
    REFUSAL_CHECK(!automatic);
    REFUSAL_CHECK(automatic.error().code == EPERM && automatic.error().refused_by == Refuser::kSeccomp);
    REFUSAL_CHECK(userfault_open(USERFAULT_ENGINE_AUTO, O_CLOEXEC) == -1 && errno == EPERM);
    return true;
  }));
}

// What a required feature that is not there says: which one, and since when it exists.
TEST(OpenRefusal, FeatureThatIsNotThere) {
  const Features unheard_of(std::uint64_t{1} << 40);
  const auto opened = Descriptor::open({.engine = EngineKind::kKernel, .required = unheard_of});
  ASSERT_FALSE(opened);
  if (opened.error().operation == Operation::kOpen) GTEST_SKIP() << opened.error().message();
  EXPECT_EQ(opened.error().code, EINVAL);
  EXPECT_EQ(opened.error().refused_by, Refuser::kKernelAge);
  EXPECT_EQ(opened.error().missing_features, unheard_of.bits());
  const Error lacks_move{.operation = Operation::kApi,
                         .code = EINVAL,
                         .refused_by = Refuser::kKernelAge,
                         .missing_features = USERFAULT_FEATURE_MOVE | USERFAULT_FEATURE_POISON};
  EXPECT_NE(lacks_move.message().find("not offered here: POISON (Linux 6.6), MOVE (Linux 6.8)"), std::string::npos);
}

}  // namespace
}  // namespace userfault

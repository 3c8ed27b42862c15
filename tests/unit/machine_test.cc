// SPDX-License-Identifier: Apache-2.0
// probe_machine() against the kernel asked directly, by code that shares nothing with it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include "refusal.h"
#include "userfault/probe.h"

namespace userfault {
namespace {

int open_directly() {
  const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY));
  if (fd < 0) return -1;
  userfault_api api{USERFAULT_API, 0, 0};
  return ::ioctl(fd, USERFAULT_IOC_API, &api) == 0 ? fd : -1;
}

void* map_directly(const std::string& backing, std::size_t length) {
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  if (backing == "private-anonymous") return ::mmap(nullptr, length, kProtection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (backing == "shared-anonymous") return ::mmap(nullptr, length, kProtection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (backing == "hugetlb-private")
    return ::mmap(nullptr, 2 << 20, kProtection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  return MAP_FAILED;
}

struct Direct {
  int error = 0;
  std::uint64_t ioctls = 0;
};

Direct register_directly(void* memory, std::size_t length, std::uint64_t modes) {
  const int fd = open_directly();
  userfault_register request{{reinterpret_cast<std::uintptr_t>(memory), length}, modes, 0};
  Direct answer;
  if (::ioctl(fd, USERFAULT_IOC_REGISTER, &request) == 0) answer.ioctls = request.ioctls;
  else answer.error = errno;
  ::close(fd);
  return answer;
}

TEST(Machine, RegistrationsAreWhatTheKernelAnswers) {
  const int fd = open_directly();
  if (fd < 0) GTEST_SKIP() << "the kernel's userfaultfd is refused here: " << std::strerror(errno);
  ::close(fd);
  const Machine machine = probe_machine(EngineKind::kKernel);
  std::size_t compared = 0;
  for (const Registration& found : machine.registrations) {
    const std::size_t length = std::string(found.backing).starts_with("hugetlb") ? 2 << 20 : 4096;
    void* const memory = map_directly(found.backing, length);
    if (memory == MAP_FAILED || !found.mapped) continue;
    const Direct direct = register_directly(memory, length, found.modes.bits());
    EXPECT_EQ(found.error, direct.error) << found.backing << " " << found.modes.bits();
    EXPECT_EQ(found.operations.bits(), direct.ioctls) << found.backing << " " << found.modes.bits();
    ++compared;
    ::munmap(memory, length);
  }
  EXPECT_GE(compared, 14u);
}

TEST(Machine, EveryBackingHasEverySetOfModes) {
  const Machine machine = probe_machine();
  if (machine.engine == EngineKind::kAutomatic) GTEST_SKIP() << "no engine opens here: " << machine.why;
  EXPECT_EQ(machine.registrations.size() % 7, 0u);
  for (const char* backing : {"private-anonymous", "shared-anonymous", "memfd", "tmpfs", "sysv", "dev-zero",
                              "hugetlb-shared", "hugetlb-private", "file"}) {
    const auto count = std::count_if(machine.registrations.begin(), machine.registrations.end(),
                                     [&](const Registration& each) { return std::strcmp(each.backing, backing) == 0; });
    EXPECT_EQ(count, 7) << backing;
  }
}

TEST(Machine, FeaturesAreWhatTheHandshakeOffers) {
  const auto opened = Descriptor::open({.engine = EngineKind::kKernel});
  if (!opened) GTEST_SKIP() << opened.error().message();
  const Machine machine = probe_machine(EngineKind::kKernel);
  Features offered;
  for (const FeatureSupport& feature : machine.features)
    if (feature.offered) offered |= feature.bit;
  EXPECT_EQ(offered, opened->available() & feature::kAll);
}

TEST(Machine, SettingsAreTheSystems) {
  std::ifstream file("/proc/sys/vm/max_map_count");
  std::string expected;
  if (!std::getline(file, expected)) GTEST_SKIP() << "no /proc/sys/vm/max_map_count";
  const Machine machine = probe_machine();
  const auto found = std::find_if(machine.settings.begin(), machine.settings.end(),
                                  [](const Setting& each) { return std::string(each.name) == "vm.max_map_count"; });
  ASSERT_NE(found, machine.settings.end());
  EXPECT_EQ(found->value, expected);
}

// A facility that a filter takes away is said to be missing, with the filter's errno.
TEST(Machine, FacilityThatIsRefused) {
  EXPECT_TRUE(refusal::in_child([] {
    std::array filter{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    REFUSAL_CHECK(refusal::install(filter));
    const Machine machine = probe_machine();
    for (const Facility& facility : machine.facilities)
      if (std::string(facility.name) == "process-vm") return facility.error == EXDEV;
    return false;
  }));
}

// The whole report under a filter that kills: every way of the call says so, and nobody dies.
TEST(Machine, SurvivesAKillingFilter) {
  EXPECT_TRUE(refusal::in_child([] {
    REFUSAL_CHECK(refusal::filter_userfaultfd(SECCOMP_RET_KILL_PROCESS));
    const Machine machine = probe_machine();
    REFUSAL_CHECK(machine.seccomp_mode == 2);
    int killed = 0;
    for (const Way& way : machine.ways) {
      if (std::string(way.door) != "userfaultfd(2)") continue;
      REFUSAL_CHECK(!way.opens && way.signal == SIGSYS && way.refused_by == Refuser::kSeccomp);
      ++killed;
    }
    REFUSAL_CHECK(killed == 2);
    REFUSAL_CHECK(!machine.why.empty());
    return true;
  }));
}

// The probe is a guest: no descriptor and no mapping stays behind.
TEST(Machine, LeavesNothingBehind) {
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    std::size_t anonymous = 0;
    for (std::string line; std::getline(maps, line);)
      anonymous += line.find("userfault probe") != std::string::npos || line.find("SYSV") != std::string::npos;
    return anonymous;
  };
  const int next = ::dup(0);
  ::close(next);
  (void)probe_machine();
  const int after = ::dup(0);
  ::close(after);
  EXPECT_EQ(next, after);
  EXPECT_EQ(mappings(), 0u);
}

}  // namespace
}  // namespace userfault

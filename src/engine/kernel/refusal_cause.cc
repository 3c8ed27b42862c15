// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel/refusal_cause.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "engine/kernel/proc_text.h"
#include "engine/kernel/seccomp_probe.h"
#include "userfault/abi.h"

namespace userfault::engine::kernel {
namespace {

constexpr abi::Version kFirst{4, 3};
constexpr abi::Version kSysctlFile{5, 2};
constexpr abi::Version kUserModeOnly{5, 11};
constexpr abi::Version kDevice{6, 1};
constexpr int kKnownFlags = O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY;

bool is_limit(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN; }

bool asks_user_mode_only(const Facts& facts) { return (facts.flags & USERFAULT_USER_MODE_ONLY) != 0; }

// ENOSYS from the system call.
Refuser who_lacks_the_call(const Facts& facts) {
  if (facts.in_misc || facts.sysctl >= 0) return Refuser::kSeccomp;
  if (facts.kernel < kFirst) return Refuser::kKernelAge;
  // Before 5.2 nothing shows that the kernel has it; where there is a filter, that is the likelier.
  return facts.kernel < kSysctlFile && facts.seccomp_mode == 2 ? Refuser::kSeccomp : Refuser::kKernelConfig;
}

// EPERM from the system call.
Refuser who_forbids_the_call(const Facts& facts) {
  const bool let_through = asks_user_mode_only(facts) && facts.kernel >= kUserModeOnly;
  const bool sysctl_would = facts.sysctl != 1 && !facts.may_trace && !let_through;
  const bool filter_could = facts.seccomp_mode != 0;
  if (!sysctl_would) return filter_could ? Refuser::kSeccomp : Refuser::kNone;
  if (!filter_could) return Refuser::kSysctl;
  // Both could: the kernel lets USER_MODE_ONLY pass, so a filter is at work when it does not.
  return facts.opens_user_mode_only == Tristate::kNo && facts.kernel >= kUserModeOnly ? Refuser::kSeccomp
                                                                                      : Refuser::kSysctl;
}

Refuser who_finds_it_invalid(const Facts& facts) {
  if ((facts.flags & ~kKnownFlags) != 0) return Refuser::kNone;
  if (asks_user_mode_only(facts) && facts.kernel < kUserModeOnly) return Refuser::kKernelAge;
  return facts.seccomp_mode == 2 ? Refuser::kSeccomp : Refuser::kNone;
}

Refuser who_shut_the_call(const Facts& facts) {
  switch (facts.answer.error) {
    case ENOSYS: return who_lacks_the_call(facts);
    case EPERM: return who_forbids_the_call(facts);
    case EINVAL: return who_finds_it_invalid(facts);
    case EACCES: return Refuser::kSecurityModule;
    default: return facts.seccomp_mode == 2 ? Refuser::kSeccomp : Refuser::kNone;
  }
}

Refuser who_shut_the_device(const Facts& facts) {
  switch (facts.answer.error) {
    case ENOENT:
      if (facts.kernel < kDevice) return Refuser::kKernelAge;
      return facts.in_misc ? Refuser::kDeviceMode : Refuser::kKernelConfig;
    case EACCES: return facts.device_accessible ? Refuser::kSecurityModule : Refuser::kDeviceMode;
    // The mode gives EACCES; EPERM is a device cgroup's or, behind an open that is allowed, a filter's.
    case EPERM: return facts.seccomp_mode == 2 && facts.device_accessible ? Refuser::kSeccomp : Refuser::kDeviceMode;
    case ENODEV:
    case ENXIO:
    case ENOTTY: return facts.kernel < kDevice ? Refuser::kKernelAge : Refuser::kKernelConfig;
    case EINVAL: return who_finds_it_invalid(facts);
    default: return facts.seccomp_mode == 2 ? Refuser::kSeccomp : Refuser::kNone;
  }
}

// capable() asks the initial user namespace; root inside a container's own namespace does not
// count. 0xEFFFFFFD is PROC_USER_INIT_INO of include/linux/proc_ns.h.
bool in_initial_user_namespace() {
  std::array<char, 64> link{};
  const ssize_t length = ::readlink("/proc/self/ns/user", link.data(), link.size() - 1);
  return length > 0 && std::string_view(link.data(), static_cast<std::size_t>(length)) == "user:[4026531837]";
}

bool has_ptrace_capability() {
  std::array<char, 4096> buffer;
  const auto status = read_text("/proc/thread-self/status", buffer);
  const auto effective = status ? field(*status, "CapEff", 16) : std::nullopt;
  return effective && ((*effective >> CAP_SYS_PTRACE) & 1) != 0 && in_initial_user_namespace();
}

int sysctl_value() {
  std::array<char, 16> buffer;
  const auto text = read_text("/proc/sys/vm/unprivileged_userfaultfd", buffer);
  return text && !text->empty() ? std::atoi(text->data()) : -1;
}

bool listed_in_misc() {
  std::array<char, 4096> buffer;
  const auto text = read_text("/proc/misc", buffer);
  return text && text->find(" userfaultfd\n") != std::string_view::npos;
}

}  // namespace

Refuser classify(const Facts& facts) noexcept {
  if (facts.answer.opens()) return Refuser::kNone;
  // Nothing but a filter kills on a system call.
  if (facts.answer.signal != 0) return Refuser::kSeccomp;
  if (is_limit(facts.answer.error)) return Refuser::kLimit;
  return facts.method == OpenMethod::kSyscall ? who_shut_the_call(facts) : who_shut_the_device(facts);
}

Facts observe(OpenMethod method, int flags, Answer answer) noexcept {
  Facts facts{.method = method, .flags = flags, .answer = answer};
  const Surroundings around = look_around();
  facts.seccomp_mode = around.seccomp_mode;
  facts.sysctl = around.sysctl;
  facts.may_trace = around.may_trace;
  facts.in_misc = listed_in_misc();
  facts.device_accessible = ::faccessat(AT_FDCWD, "/dev/userfaultfd", R_OK | W_OK, AT_EACCESS) == 0;
  facts.kernel = kernel_version();
  if (method == OpenMethod::kSyscall && answer.error == EPERM) {
    const bool opens = ask(OpenMethod::kSyscall, flags | USERFAULT_USER_MODE_ONLY).opens();
    facts.opens_user_mode_only = opens ? Tristate::kYes : Tristate::kNo;
  }
  return facts;
}

}  // namespace userfault::engine::kernel

namespace userfault::engine {

Surroundings look_around() noexcept {
  return {.seccomp_mode = kernel::seccomp_state().mode,
          .sysctl = kernel::sysctl_value(),
          .may_trace = kernel::has_ptrace_capability()};
}

}  // namespace userfault::engine

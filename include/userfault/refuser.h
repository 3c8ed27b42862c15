// SPDX-License-Identifier: Apache-2.0
// Who said no when a userfaultfd could not be opened, or lacks what was asked for, and what to do.
#pragma once

#include <cstdint>

#include "userfault/export.h"

namespace userfault {

enum class Refuser : std::uint8_t {
  kNone,            // not a refusal, or not known
  kSeccomp,         // a seccomp filter (a container's profile, systemd's SystemCallFilter=)
  kSysctl,          // vm.unprivileged_userfaultfd is 0 and the caller lacks CAP_SYS_PTRACE
  kDeviceMode,      // /dev/userfaultfd: its owner, its mode, a device cgroup, or no node here
  kKernelConfig,    // a kernel built without CONFIG_USERFAULTFD, or without that feature
  kKernelAge,       // a kernel older than what was asked for
  kCapability,      // a feature that wants CAP_SYS_PTRACE (EVENT_FORK)
  kLimit,           // a limit of the process or the system (descriptors, memory, mappings)
  kSecurityModule,  // SELinux or another security module
};

// "seccomp", "vm.unprivileged_userfaultfd" …
[[nodiscard]] USERFAULT_EXPORT const char* name_of(Refuser refuser) noexcept;
// What a person can do about it, in the imperative; an empty string for kNone.
[[nodiscard]] USERFAULT_EXPORT const char* advice_for(Refuser refuser) noexcept;

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Who refused: observed facts in, a name out.
//
// classify() is a pure function, so that every row of it can be tested on one machine; observe()
// collects the facts from system calls and /proc. What the rows rest on:
//   fs/userfaultfd.c, userfaultfd_syscall_allowed(): EPERM comes only when the flags lack
//     USER_MODE_ONLY (5.11), CAP_SYS_PTRACE is not effective in the initial user namespace, and
//     vm.unprivileged_userfaultfd (5.2) is 0. Any other EPERM is a filter's.
//   A kernel that has userfaultfd shows it: the sysctl's file since 5.2, "userfaultfd" in
//     /proc/misc since 6.1. ENOSYS in spite of these is a filter's (real-kernel row 27).
//   SELinux checks anonymous inodes since 5.12 and says EACCES.
#pragma once

#include "abi/names.h"
#include "engine/open_methods.h"

namespace userfault::engine::kernel {

enum class Tristate : unsigned char { kNo, kYes, kUnknown };

struct Facts {
  OpenMethod method = OpenMethod::kSyscall;
  int flags = 0;
  Answer answer{};
  // Whether userfaultfd(2) opens with USER_MODE_ONLY added; kUnknown when that was not asked.
  Tristate opens_user_mode_only = Tristate::kUnknown;
  int seccomp_mode = -1;           // as SeccompState::mode
  int sysctl = -1;                 // vm.unprivileged_userfaultfd; -1: no such file
  bool in_misc = false;            // /proc/misc lists userfaultfd
  bool may_trace = false;          // CAP_SYS_PTRACE in the initial user namespace
  bool device_accessible = false;  // access(2) allows reading and writing the node
  abi::Version kernel{};
};

[[nodiscard]] Refuser classify(const Facts& facts) noexcept;
[[nodiscard]] Facts observe(OpenMethod method, int flags, Answer answer) noexcept;

}  // namespace userfault::engine::kernel

// SPDX-License-Identifier: Apache-2.0
// What went wrong: which operation, on which range, with which errno, and who refused.
//
// From the API up nothing throws and no errno is left to be guessed: functions return
// Result<T>, and Error::message() is a sentence that says what was tried, what refused and, where
// we know, what to do. Error is a plain value; copying it never allocates. Any thread.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "userfault/export.h"

namespace userfault {

enum class Operation : std::uint8_t {
  kOpen,
  kApi,
  kRegister,
  kUnregister,
  kCopy,
  kZeropage,
  kWake,
  kWriteprotect,
  kContinue,
  kPoison,
  kMove,
  kRead,
  kPoll,
  kMap,
  kUnmap,
  kRemap,
  kAdvise,
  kProtect,
  kFork,
  kScan,
  kSend,
  kReceive,
  kInThread,
  kStore,
};

// Who said no when a userfaultfd could not be opened.
enum class Refuser : std::uint8_t {
  kNone,           // not a refusal, or not known
  kSeccomp,        // a seccomp filter (a container's profile, systemd's SystemCallFilter=)
  kSysctl,         // vm.unprivileged_userfaultfd is 0 and the caller lacks CAP_SYS_PTRACE
  kDeviceMode,     // /dev/userfaultfd exists, its owner or mode shuts us out
  kKernelConfig,   // a kernel built without CONFIG_USERFAULTFD
  kKernelAge,      // a kernel older than what was asked for
  kCapability,     // a feature that wants CAP_SYS_PTRACE (EVENT_FORK)
  kLimit,          // a limit of the process or the system (descriptors, memory, mappings)
};

struct USERFAULT_EXPORT Error {
  Operation operation{};
  int code = 0;                // a positive errno
  std::uint64_t address = 0;   // the start of the range, in bytes; 0 where there is none
  std::uint64_t length = 0;    // bytes
  Refuser refused_by = Refuser::kNone;

  // One line for a person, without a newline at its end.
  [[nodiscard]] std::string message() const;
};

template <typename T>
using Result = std::expected<T, Error>;

// "copy", "register" … as the manual page spells it, in lower case.
[[nodiscard]] USERFAULT_EXPORT const char* name_of(Operation operation) noexcept;
// "seccomp", "vm.unprivileged_userfaultfd" …
[[nodiscard]] USERFAULT_EXPORT const char* name_of(Refuser refuser) noexcept;

}  // namespace userfault

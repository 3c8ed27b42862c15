// SPDX-License-Identifier: Apache-2.0
// What went wrong: which operation, on which range, with which errno, and who refused.
//
// From the API up nothing throws and no errno is left to be guessed: functions return
// Result<T>, and Error::message() is a sentence that says what was tried, what refused and, where
// we know, what to do. Error is a plain value; copying it never allocates. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "userfault/expected.h"
#include "userfault/export.h"
#include "userfault/refuser.h"

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

struct USERFAULT_EXPORT Error {
  Operation operation{};
  int code = 0;               // a positive errno
  std::uint64_t address = 0;  // the start of the range, in bytes; 0 where there is none
  std::uint64_t length = 0;   // bytes
  Refuser refused_by = Refuser::kNone;
  std::uint64_t missing_features = 0;  // asked for and not offered here; USERFAULT_FEATURE_*

  // One line for a person, without a newline at its end.
  [[nodiscard]] std::string message() const;

  [[nodiscard]] friend bool operator==(const Error&, const Error&) noexcept = default;
};

template <typename T>
using Result = Expected<T, Error>;

// "copy", "register" … as the manual page spells it, in lower case.
[[nodiscard]] USERFAULT_EXPORT const char* name_of(Operation operation) noexcept;

}  // namespace userfault

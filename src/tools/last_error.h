// SPDX-License-Identifier: Apache-2.0
// Why the call of the C library that has just failed did so. The tools see errno only through these.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

namespace userfault::tools {

[[nodiscard]] inline int last_error_code() noexcept { return errno; }
// "No such file or directory".
[[nodiscard]] inline std::string last_error() { return std::generic_category().message(errno); }

}  // namespace userfault::tools

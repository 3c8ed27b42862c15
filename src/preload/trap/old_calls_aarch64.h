// SPDX-License-Identifier: Apache-2.0
// System calls that newer architectures have not got: AArch64 has none of them.
#pragma once

#include <array>

namespace userfault::preload {

inline constexpr std::array<int, 0> kOldCalls = {};
inline constexpr std::array<int, 0> kOldThroughSyscall = {};
inline bool old_call(long, long, long, long, long*) noexcept { return false; }

}  // namespace userfault::preload

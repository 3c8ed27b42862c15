// SPDX-License-Identifier: Apache-2.0
// What operations answer when the memory that they are about is gone (mmget_not_zero() fails in
// fs/userfaultfd.c): first the checks of the arguments, then ESRCH or ENOMEM.
#pragma once

namespace userfault::engine::user::remote {

// `argument` is a copy of what the caller passed. -errno; 0 for WAKE, which needs no memory.
[[nodiscard]] int errno_when_owner_exited(unsigned long operation, const char* argument) noexcept;

}  // namespace userfault::engine::user::remote

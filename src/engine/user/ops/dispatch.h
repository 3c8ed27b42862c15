// SPDX-License-Identifier: Apache-2.0
// ioctl(2) on an instance whose memory is this process's.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// 0 or -errno; what `argument` points to may be bad (EFAULT). May run in a signal handler but for
// API, REGISTER and UNREGISTER.
[[nodiscard]] int operate(Instance& instance, unsigned long request, void* argument) noexcept;

}  // namespace userfault::engine::user

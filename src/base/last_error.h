// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>

namespace userfault::base {

// The positive errno of the system call that this thread has just seen fail. Above the engines this
// is the only place that touches errno, so that nothing comes between a call and its reason.
[[nodiscard]] inline int last_error() noexcept { return errno; }

}  // namespace userfault::base

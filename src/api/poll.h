// SPDX-License-Identifier: Apache-2.0
// poll(2) with the kernel's rules for a userfaultfd, on either engine.
#pragma once

#include <poll.h>

#include <span>

namespace userfault::api {

// The count of entries with events, 0 when the time ran out, or -errno. A negative timeout waits
// for ever.
[[nodiscard]] int poll(std::span<pollfd> entries, int timeout_ms) noexcept;

}  // namespace userfault::api

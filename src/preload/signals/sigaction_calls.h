// SPDX-License-Identifier: Apache-2.0
// What the program asked of its signal handlers.
#pragma once

namespace userfault::preload {

// Whether the program ever installed a handler without SA_RESTART, one that makes a blocked system
// call fail with EINTR.
[[nodiscard]] bool some_handler_interrupts() noexcept;

}  // namespace userfault::preload

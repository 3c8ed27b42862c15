// SPDX-License-Identifier: Apache-2.0
// The handlers of SIGSEGV and SIGBUS.
#pragma once

namespace userfault::engine::user {

// Installs both. 0 or -errno.
[[nodiscard]] long install_handlers() noexcept;
// SIGBUS alone, which is what in-thread resolution on the kernel's engine needs.
[[nodiscard]] long install_sigbus_handler() noexcept;

}  // namespace userfault::engine::user

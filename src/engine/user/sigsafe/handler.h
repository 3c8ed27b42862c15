// SPDX-License-Identifier: Apache-2.0
// The handlers of SIGSEGV and SIGBUS.
#pragma once

#include "engine/user/sigsafe/space.h"

namespace userfault::sigsafe {

// Installs both. 0 or -errno.
[[nodiscard]] long install_handlers() noexcept;
// SIGBUS alone, which is what in-thread resolution on the kernel's engine needs.
[[nodiscard]] long install_sigbus_handler() noexcept;

// Notes that the protection of [start, end) is about to be, or was, narrower than the program's for
// a moment: a fault there that finds no area is tried again. Under Space::lock exclusive.
void note_transition(std::uintptr_t start, std::uintptr_t end) noexcept;

}  // namespace userfault::sigsafe

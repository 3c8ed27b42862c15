// SPDX-License-Identifier: Apache-2.0
// What a system call would meet in served memory. The kernel cannot take the engine's faults: a system call that
// touches a closed page fails with EFAULT, where with the kernel's userfaultfd it would have waited. The thread that
// makes the call asks here, touches, and calls again. What a page needs is decided where the fault handler decides it
// (classify.h).
//
// Threads: any, also in a signal handler; Space::lock must not be held.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

enum class Access : std::uint8_t {
  kRead,   // the kernel reads the memory: write(2), an argument
  kWrite,  // the kernel writes it: read(2), a result
};

struct Buffer {
  std::uintptr_t start = 0;
  std::size_t bytes = 0;
};

// The first address of `buffer` that does not let the access pass, where touching helps: by waiting for a monitor, or
// at once. 0 when there is none, and where the kernel's userfaultfd would fail the call, too: UFFD_USER_MODE_ONLY,
// FEATURE_SIGBUS, a poisoned page, a protection of the program's own. Waits while another thread fills the page.
[[nodiscard]] std::uintptr_t first_closed(Buffer buffer, Access access) noexcept;

// The access itself, which waits as any access of the program does. It changes no byte. False when the page cannot be
// had.
[[nodiscard]] bool touch(std::uintptr_t address, Access access) noexcept;

}  // namespace userfault::engine::user

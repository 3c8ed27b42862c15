// SPDX-License-Identifier: Apache-2.0
// In-thread resolution on the kernel's engine: which ranges are served by which handler.
//
// The kernel raises SIGBUS and says nothing about the userfaultfd it stands for, so what is
// registered is kept here, for descriptors that have FEATURE_SIGBUS only; for all others these
// functions are one load. The table that the signal handler reads is in
// engine/user/fault/kernel_in_thread.h; it is written anew with every change.
//
// Threads: any, but not inside a signal handler. Lock order: the one lock here, and no other under
// it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/engine.h"

namespace userfault::engine::kernel {

// ioctl(2) of an operation, and what is to be known of it if it succeeds. 0 or a negative errno: the
// kernel's; or -ENOMEM when a registration, which is then taken back, does not fit the table.
[[nodiscard]] int operate_and_note(int fd, unsigned long request, void* argument) noexcept;
// Memory went away, or moved and, where the descriptor has EVENT_REMAP, stayed registered.
void note_unmapped(std::uintptr_t start, std::size_t length) noexcept;
void note_moved(std::uintptr_t from, std::size_t old_length, std::uintptr_t to, std::size_t new_length) noexcept;
void note_closed(int fd) noexcept;

// 0, or -EINVAL without FEATURE_SIGBUS, -ENOMEM, or what rt_sigaction(2) says.
[[nodiscard]] int set_in_thread_handler(int fd, InThreadHandler handler, void* context) noexcept;

}  // namespace userfault::engine::kernel

// SPDX-License-Identifier: Apache-2.0
// Descriptors whose memory is another process's: each call becomes a request to the owner's agent.
//
// Threads: everything from any thread, also inside a signal handler.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace userfault::engine::user::remote {

// `fd` is marked (descriptors.h) and leads to no instance of this process. -ESRCH, or -ENOMEM for
// REGISTER and UNREGISTER, when the owner is gone or cannot be reached.
[[nodiscard]] int operate(int fd, unsigned long request, void* argument) noexcept;
// Bytes or -errno. On an owner that is gone it waits for ever, as the kernel's does.
[[nodiscard]] ssize_t read(int fd, char* buffer, std::size_t bytes) noexcept;
// The same without waiting, whatever the descriptor's flags: -EAGAIN.
[[nodiscard]] ssize_t read_now(int fd, char* buffer, std::size_t bytes) noexcept;
[[nodiscard]] short poll_events(int fd, short reported) noexcept;
// In the child of a fork: the connections are the parent's.
void forget_all() noexcept;

}  // namespace userfault::engine::user::remote

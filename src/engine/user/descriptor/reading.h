// SPDX-License-Identifier: Apache-2.0
// read(2) of a descriptor of this process.
//
// Threads: any, also in a signal handler.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// `fd` leads to the instance, whose handshake was made; `count` messages have room in the buffer, at least one. Bytes;
// -EAGAIN where the descriptor does not block and there is nothing; -EINTR after a signal; -EFAULT: the messages are
// lost; -EBADF: the descriptor was closed meanwhile.
[[nodiscard]] ssize_t read_messages(Instance& instance, int fd, char* buffer, std::size_t count) noexcept;
// The same without waiting, whatever the descriptor's flags: -EAGAIN.
[[nodiscard]] ssize_t read_available(Instance& instance, char* buffer, std::size_t count) noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// Reading messages from a descriptor of ours, as read(2) and readv(2): bytes, or -1 and errno. They
// are cancellation points.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace userfault::preload {

[[nodiscard]] ssize_t read_messages(int fd, void* buffer, std::size_t bytes);
[[nodiscard]] ssize_t read_messages(int fd, const iovec* pieces, int count);

}  // namespace userfault::preload

// SPDX-License-Identifier: Apache-2.0
// Reading messages from a descriptor of ours, as read(2) and readv(2): bytes, or -1 and errno. They
// are cancellation points.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace userfault::preload {

// False when `fd` is no descriptor of ours; then nothing was done.
[[nodiscard]] bool read_messages(int fd, void* buffer, std::size_t bytes, ssize_t* result);
[[nodiscard]] bool read_messages(int fd, const iovec* pieces, int count, ssize_t* result);

}  // namespace userfault::preload

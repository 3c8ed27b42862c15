// SPDX-License-Identifier: Apache-2.0
// The memfds that converted memory lives in.
//
// The first extents have one each, so that they are filled without waiting for each other (a write holds
// the inode's lock). A program may register more private mappings than it may have descriptors, which are
// 1024 by default: later extents share a memfd, each at an offset of its own that is never used again, and leave a
// hole there when they go.
#pragma once

#include <cstddef>

namespace userfault::engine::user {

// How many memfds there are before extents of one page size share.
inline constexpr std::size_t kMemfdsOfOne = 64;

// Where the content of an extent lives.
struct MemfdPlace {
  int fd = -1;         // the memfd, or the engine's own descriptor of the program's file; -1: none
  long fd_offset = 0;  // of page 0, in bytes
  int memfd = -1;      // which one of the pool; -1: the file is the program's, and so is its content
};

// All under Space::lock exclusive.

// Finds a place in a memfd for `bytes`, whole pages of the given size. -ENOMEM: no descriptor, no memory, or the
// place would lie behind RLIMIT_FSIZE, for which the kernel would send SIGXFSZ.
[[nodiscard]] long take_place(MemfdPlace& place, std::size_t bytes, unsigned page_shift) noexcept;
// Takes the `bytes` at the place away, content included. For a place that is not of the pool: closes its descriptor.
void release_place(MemfdPlace& place, std::size_t bytes) noexcept;
// In the child of a fork: the content is the parent's, to be read and left alone.
void disown_memfds() noexcept;

}  // namespace userfault::engine::user

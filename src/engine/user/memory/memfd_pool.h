// SPDX-License-Identifier: Apache-2.0
// The memfds that converted memory lives in.
//
// The first extents have one each, so that they are filled without waiting for each other (a write holds
// the inode's lock). A program may register more private mappings than it may have descriptors, which are
// 1024 by default: what comes later shares an object with others, at an offset of its own that is never
// used again, and leaves a hole there when it goes.
#pragma once

#include "engine/user/memory/address_space.h"

namespace userfault::engine::user {

// How many memfds there are before extents of one page size share.
inline constexpr std::size_t kObjectsOfOne = 64;

// All under Space::lock exclusive.

// Gives the extent its place: fd, fd_offset, object. -ENOMEM: no descriptor, no memory, or the place would
// lie behind RLIMIT_FSIZE, for which the kernel would send SIGXFSZ.
[[nodiscard]] long place_extent(Extent& extent) noexcept;
// Takes it away, content included. For extents without one: closes their descriptor.
void release_place(Extent& extent) noexcept;
// In the child of a fork: the content is the parent's, to be read and left alone.
void disown_objects() noexcept;

}  // namespace userfault::engine::user

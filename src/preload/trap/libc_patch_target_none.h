// SPDX-License-Identifier: Apache-2.0
// Architectures on which libc's own calls are not seen.
#pragma once

namespace userfault::preload {

struct Jump {};

inline bool makes_call(const unsigned char*, int) noexcept { return false; }
inline bool jump_from(const unsigned char*, const void*, Jump*) noexcept { return false; }
inline void put(unsigned char*, const Jump&) noexcept {}

}  // namespace userfault::preload

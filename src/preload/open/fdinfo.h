// SPDX-License-Identifier: Apache-2.0
// /proc/self/fdinfo of a descriptor of ours, which to the kernel is a pipe: the text is written as
// userfaultfd_show_fdinfo() does (fs/userfaultfd.c), behind what the kernel tells of every file.
#pragma once

namespace userfault::preload {

// Whether `path` names it, in this process.
[[nodiscard]] bool wants_fdinfo(const char* path) noexcept;
// A file with the text as it is now, or -errno; of `flags` O_CLOEXEC counts.
[[nodiscard]] int open_fdinfo(const char* path, int flags) noexcept;

}  // namespace userfault::preload

// SPDX-License-Identifier: Apache-2.0
// The two doors to a userfaultfd, as a program knocks: userfaultfd(2), and
// /dev/userfaultfd with USERFAULTFD_IOC_NEW. The choice of the engine is made
// here, for each descriptor anew.
//
// Where the device cannot be opened, the program gets a stand-in: an empty
// memfd whose only use is to be asked for a new descriptor. It is known by its
// name in /proc/self/fd, so that duplicates and descriptors kept over fork and
// exec are stand-ins too, without a table.
#pragma once

namespace userfault::preload {

// What has to happen once a descriptor of the user engine is there. It is for a room above this one to do: the
// library's start.cc defines it.
void on_descriptor_opened() noexcept;

// Once, at the start: by this a child that shares the memory is known later.
void note_process() noexcept;
// What userfaultfd(2) gives: a descriptor, or -errno.
[[nodiscard]] int open_userfaultfd(int flags) noexcept;

// The kernel's descriptor `fd` has refused its handshake with EPERM, as it does
// for fork events without CAP_SYS_PTRACE. Whether it could be replaced by one
// of ours.
[[nodiscard]] bool replace_refused(int fd) noexcept;

// Whether opening `path` means the device, and a stand-in has to take its
// place.
[[nodiscard]] bool wants_stand_in(int directory, const char* path) noexcept;
// The stand-in, or -errno; of `flags` O_CLOEXEC counts.
[[nodiscard]] int open_stand_in(int flags) noexcept;
[[nodiscard]] bool is_stand_in(int fd) noexcept;

}  // namespace userfault::preload

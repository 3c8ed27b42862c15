// SPDX-License-Identifier: Apache-2.0
// The kernel's own userfaultfd behind the contract. Nothing is between the caller and the system
// call but the choice of the way to open.
#pragma once

#include "engine/engine.h"

namespace userfault::engine::kernel {

class KernelEngine final : public Engine {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "kernel"; }
  [[nodiscard]] int open(int flags) noexcept override;
  [[nodiscard]] bool owns(int fd) const noexcept override;
  [[nodiscard]] int operate(int fd, unsigned long request, void* argument) noexcept override;
  [[nodiscard]] ssize_t read(int fd, void* buffer, std::size_t bytes) noexcept override;
  [[nodiscard]] ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept override;
  [[nodiscard]] short poll_events(int fd, short events, short reported) noexcept override;
  int close(int fd) noexcept override;

  [[nodiscard]] std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd,
                                   off_t offset) noexcept override;
  [[nodiscard]] int munmap(std::uintptr_t start, std::size_t length) noexcept override;
  [[nodiscard]] std::intptr_t mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length, int flags,
                                     std::uintptr_t to) noexcept override;
  [[nodiscard]] int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept override;
  [[nodiscard]] int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept override;
  [[nodiscard]] pid_t fork() noexcept override;
  [[nodiscard]] long scan(userfault_scan* scan) noexcept override;
  [[nodiscard]] int set_in_thread(int fd, InThreadHandler handler, void* context) noexcept override;
};

// The two ways to open, each tried alone and in this process: a descriptor or -errno, or death by a
// seccomp filter. engine/open_methods.h is the safe way to them. `flags` as in userfaultfd(2).
[[nodiscard]] int open_by_syscall(int flags) noexcept;
[[nodiscard]] int open_by_device(int flags) noexcept;

}  // namespace userfault::engine::kernel

// SPDX-License-Identifier: Apache-2.0
// userfaultfd implemented in user space, behind the contract.
#pragma once

#include "engine/engine.h"

namespace userfault::engine::user {

// The request of ioctl(2) to which the preload library answers 0 on a descriptor of its own. The
// kernel has nothing at this number, and a pipe knows no such request.
inline constexpr unsigned long kAskPreload = 0xAA7F;

[[nodiscard]] Engine& instance() noexcept;
// The contract's operate() and read() where `fd` may be anybody's: kNotOurs, which is no errno, when
// it is none of this engine's.
inline constexpr int kNotOurs = -4096;
[[nodiscard]] int try_operate(int fd, unsigned long request, void* argument) noexcept;
[[nodiscard]] ssize_t try_read(int fd, void* buffer, std::size_t bytes) noexcept;
// read() that never blocks, whatever the descriptor's flags: -EAGAIN where it would. For a caller that
// has its own way to wait, which is that the descriptor polls readable.
[[nodiscard]] ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept;
[[nodiscard]] bool is_blocking(int fd) noexcept;
// What fdinfo tells of a userfaultfd. False where `fd` is no descriptor of this process's own.
struct Waiting {
  std::size_t unread = 0;
  std::size_t all = 0;
  bool enabled = false;
  std::uint64_t features = 0;
};
[[nodiscard]] bool count_waiting(int fd, Waiting* waiting) noexcept;
// Whether a number may be a descriptor of this engine at all: one was opened in this process or in one
// that it was forked from, or another process's was met here (owns() said so once).
[[nodiscard]] bool may_have_descriptors() noexcept;
// Whether a descriptor or a piece of its memory is left anywhere in this process.
[[nodiscard]] bool is_active() noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// THE contract that both engines fulfil: userfaultfd at the level of the system calls.
//
// Everything above (the API, the pager, the conformance tests, the preload library) is written
// against this and runs on either. Whoever writes a third engine writes these functions, runs
// `userfault conform`, and is done.
//
// Errors are negative errno values, as inside the kernel. All functions may be called from any
// thread; operate() may also be called from an in-thread handler, that is inside a signal handler.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "userfault/abi.h"

namespace userfault::engine {

// Runs in the thread that faulted, in a signal handler. Nonzero: try the access again; 0: SIGBUS.
using InThreadHandler = int (*)(void* context, int fd, const userfault_msg* fault);

class Engine {
 public:
  [[nodiscard]] virtual const char* name() const noexcept = 0;

  // userfaultfd(2): O_CLOEXEC, O_NONBLOCK, USERFAULT_USER_MODE_ONLY. A file descriptor that poll,
  // epoll and select understand, or -errno.
  [[nodiscard]] virtual int open(int flags) noexcept = 0;
  // Whether `fd` is one of this engine's.
  [[nodiscard]] virtual bool owns(int fd) const noexcept = 0;
  // 0, or -errno exactly as ioctl(2) would give it; output fields as the kernel writes them.
  [[nodiscard]] virtual int operate(int fd, unsigned long request, void* argument) noexcept = 0;
  // Bytes read, or -errno: read(2). Blocks unless the descriptor has O_NONBLOCK.
  [[nodiscard]] virtual ssize_t read(int fd, void* buffer, std::size_t bytes) noexcept = 0;
  // The same without blocking, whatever the descriptor's flags are. -EOPNOTSUPP where the kernel
  // cannot (before Linux 6.10).
  [[nodiscard]] virtual ssize_t read_now(int fd, void* buffer, std::size_t bytes) noexcept = 0;
  // What poll(2) has to report for `fd`, given what the system's poll reported for the number.
  // EPOLL and select cannot be mended this way: docs/divergences.md.
  [[nodiscard]] virtual short poll_events(int fd, short events, short reported) noexcept = 0;
  virtual int close(int fd) noexcept = 0;

  // Layout changes: each does what the system call does, and what the engine has to do around it.
  // Addresses and mmap results are values in [0, 2^63); -errno otherwise.
  [[nodiscard]] virtual std::intptr_t mmap(std::uintptr_t start, std::size_t length, int protection, int flags, int fd,
                                           off_t offset) noexcept = 0;
  [[nodiscard]] virtual int munmap(std::uintptr_t start, std::size_t length) noexcept = 0;
  [[nodiscard]] virtual std::intptr_t mremap(std::uintptr_t from, std::size_t old_length, std::size_t new_length,
                                             int flags, std::uintptr_t to) noexcept = 0;
  [[nodiscard]] virtual int madvise(std::uintptr_t start, std::size_t length, int advice) noexcept = 0;
  [[nodiscard]] virtual int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept = 0;
  [[nodiscard]] virtual pid_t fork() noexcept = 0;

  // PAGEMAP_SCAN of this process: the count of regions written, or -errno.
  [[nodiscard]] virtual long scan(userfault_scan* scan) noexcept = 0;

  // nullptr ends it.
  [[nodiscard]] virtual int set_in_thread(int fd, InThreadHandler handler, void* context) noexcept = 0;

 protected:
  ~Engine() = default;
};

// Both live as long as the process. The user engine costs nothing until its first open().
[[nodiscard]] Engine& kernel_engine() noexcept;
[[nodiscard]] Engine& user_engine() noexcept;
// Whose descriptor this is: the user engine's if it knows the number, else the kernel's.
[[nodiscard]] Engine& engine_of(int fd) noexcept;
// engine_of(fd).operate and .read, looking once at whose the number is: that is a system call.
[[nodiscard]] int operate(int fd, unsigned long request, void* argument) noexcept;
[[nodiscard]] ssize_t read(int fd, void* buffer, std::size_t bytes) noexcept;
// Where layout changes go: the user engine while it has an instance or memory, else the kernel's.
[[nodiscard]] Engine& layout_engine() noexcept;

}  // namespace userfault::engine

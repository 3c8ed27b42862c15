// SPDX-License-Identifier: Apache-2.0
#include "engine/user/user_engine.h"

#include <cerrno>

namespace userfault::engine::user {
namespace {

// Not there yet: opening says so, and nothing else can be reached without a descriptor.
class UserEngine final : public Engine {
 public:
  const char* name() const noexcept override { return "user"; }
  int open(int) noexcept override { return -ENOSYS; }
  bool owns(int) const noexcept override { return false; }
  int operate(int, unsigned long, void*) noexcept override { return -EBADF; }
  ssize_t read(int, void*, std::size_t) noexcept override { return -EBADF; }
  short poll_events(int, short, short reported) noexcept override { return reported; }
  int close(int) noexcept override { return -EBADF; }
  std::intptr_t mmap(std::uintptr_t s, std::size_t l, int p, int f, int fd, off_t o) noexcept override {
    return kernel_engine().mmap(s, l, p, f, fd, o);
  }
  int munmap(std::uintptr_t s, std::size_t l) noexcept override { return kernel_engine().munmap(s, l); }
  std::intptr_t mremap(std::uintptr_t a, std::size_t o, std::size_t n, int f, std::uintptr_t t) noexcept override {
    return kernel_engine().mremap(a, o, n, f, t);
  }
  int madvise(std::uintptr_t s, std::size_t l, int a) noexcept override { return kernel_engine().madvise(s, l, a); }
  int mprotect(std::uintptr_t s, std::size_t l, int p) noexcept override { return kernel_engine().mprotect(s, l, p); }
  pid_t fork() noexcept override { return kernel_engine().fork(); }
  long scan(userfault_scan* scan) noexcept override { return kernel_engine().scan(scan); }
  int set_in_thread(int, InThreadHandler, void*) noexcept override { return -EBADF; }
};

}  // namespace

Engine& instance() noexcept {
  static constinit UserEngine engine;
  return engine;
}

bool is_active() noexcept { return false; }

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// Registered memory with a monitor thread, through plain libc calls as a program makes them. The
// tests here are run twice: on the kernel's userfaultfd, and under `userfault run --engine user`.
// They know no engine.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>

namespace preload_test {

inline constexpr std::size_t kPage = 4096;

inline int open_uffd(int flags) { return static_cast<int>(::syscall(SYS_userfaultfd, flags)); }

inline bool handshake(int fd, std::uint64_t features) {
  uffdio_api api{.api = UFFD_API, .features = features, .ioctls = 0};
  return ::ioctl(fd, UFFDIO_API, &api) == 0;
}

// `pages` pages of private anonymous memory; page i is filled with 'a' + i % 26 when it is asked for.
class Served {
 public:
  explicit Served(std::size_t pages, std::uint64_t modes = UFFDIO_REGISTER_MODE_MISSING, int flags = 0);
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] char* at(std::size_t page, std::size_t offset = 0) const { return memory_ + page * kPage + offset; }
  [[nodiscard]] int fd() const { return fd_; }
  // Messages answered so far.
  [[nodiscard]] unsigned faults() const { return faults_; }
  [[nodiscard]] unsigned protects() const { return protects_; }
  [[nodiscard]] bool protect(std::size_t first, std::size_t count) const;

 private:
  void serve();
  void answer(const uffd_msg& message);

  std::size_t pages_;
  char* memory_ = nullptr;
  int fd_ = -1;
  int stop_[2] = {-1, -1};
  bool ready_ = false;
  std::atomic<unsigned> faults_ = 0;
  std::atomic<unsigned> protects_ = 0;
  std::thread monitor_;
};

inline char content(std::size_t page) { return static_cast<char>('a' + page % 26); }

}  // namespace preload_test

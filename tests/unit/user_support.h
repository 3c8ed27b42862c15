// SPDX-License-Identifier: Apache-2.0
// The user engine in tests about more than one process: descriptors, memory, patterns, children.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "userfault/userfault.h"

namespace userfault::test {

inline constexpr std::size_t kPage = 4096;

// Word `i` of page `page`, in the pattern numbered `seed`; never zero.
inline std::uint64_t word_of(std::uint64_t seed, std::size_t page, std::size_t i) {
  return (seed << 48) ^ (static_cast<std::uint64_t>(page) << 16) ^ i ^ 0x8000000000000000;
}
inline void fill_page(void* at, std::uint64_t seed, std::size_t page) {
  for (std::size_t i = 0; i < kPage / 8; ++i) static_cast<std::uint64_t*>(at)[i] = word_of(seed, page, i);
}
enum class Content { kPattern, kZero, kWrong };
inline Content content_of(const void* at, std::uint64_t seed, std::size_t page) {
  const auto* words = static_cast<const volatile std::uint64_t*>(at);
  const bool zero = words[0] == 0;
  for (std::size_t i = 0; i < kPage / 8; ++i)
    if (words[i] != (zero ? 0 : word_of(seed, page, i))) return Content::kWrong;
  return zero ? Content::kZero : Content::kPattern;
}

// A descriptor of the user engine and private memory registered with it.
class Served {
 public:
  explicit Served(std::size_t pages, std::uint64_t features = 0, std::uint64_t modes = USERFAULT_REGISTER_MODE_MISSING,
                  int map_flags = MAP_PRIVATE | MAP_ANONYMOUS)
      : pages_(pages) {
    fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || userfault_ioctl_api(fd, features, nullptr, nullptr) != 0) fail("open");
    memory = static_cast<char*>(::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, map_flags, -1, 0));
    if (memory == MAP_FAILED || userfault_ioctl_register(fd, memory, bytes(), modes, nullptr) != 0) fail("register");
  }
  ~Served() {
    if (fd >= 0) userfault_close(fd);
    userfault_munmap(memory, bytes());
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  [[nodiscard]] std::size_t bytes() const { return pages_ * kPage; }
  [[nodiscard]] char* page(std::size_t index) const { return memory + index * kPage; }
  [[nodiscard]] std::size_t index_of(std::uint64_t address) const {
    return (address - reinterpret_cast<std::uintptr_t>(memory)) / kPage;
  }
  // 0 or errno.
  int copy(std::size_t index, std::uint64_t seed = 1) const { return copy_by(fd, index, seed); }
  int copy_by(int descriptor, std::size_t index, std::uint64_t seed = 1) const {
    alignas(4096) char source[kPage];
    fill_page(source, seed, index);
    return userfault_ioctl_copy(descriptor, page(index), source, kPage, 0, nullptr) == 0 ? 0 : errno;
  }
  [[nodiscard]] Content content(std::size_t index, std::uint64_t seed = 1) const {
    return content_of(page(index), seed, index);
  }

  int fd = -1;
  char* memory = nullptr;

 private:
  [[noreturn]] static void fail(const char* what) {
    std::perror(what);
    std::abort();
  }
  std::size_t pages_;
};

inline bool wait_readable(int fd, int timeout_ms = 20000) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return userfault_poll(&entry, 1, timeout_ms) == 1 && (entry.revents & POLLIN) != 0;
}
inline bool read_message(int fd, userfault_msg* message) {
  return wait_readable(fd) && userfault_read(fd, message, sizeof *message) == sizeof *message;
}

// A child that ends with what `body` returns; the guard ends one that hangs.
template <typename Body>
pid_t start_child(Body body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::alarm(30);
  ::_exit(body());
}
inline int status_of(pid_t child) {
  int status = -1;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace userfault::test

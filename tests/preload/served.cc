// SPDX-License-Identifier: Apache-2.0
#include "served.h"

#include <fcntl.h>
#include <poll.h>

#include <array>
#include <cerrno>

namespace preload_test {

Served::Served(std::size_t pages, std::uint64_t modes, int flags) : pages_(pages) {
  fd_ = open_uffd(O_CLOEXEC | O_NONBLOCK | flags);
  if (fd_ < 0 || !handshake(fd_, UFFD_FEATURE_PAGEFAULT_FLAG_WP)) return;
  void* memory = ::mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memory_ = static_cast<char*>(memory);
  uffdio_register range{.range = {reinterpret_cast<std::uintptr_t>(memory), pages * kPage}, .mode = modes, .ioctls = 0};
  if (memory == MAP_FAILED || ::ioctl(fd_, UFFDIO_REGISTER, &range) != 0 || ::pipe2(stop_, O_CLOEXEC) != 0) return;
  monitor_ = std::thread([this] { serve(); });
  ready_ = true;
}

Served::~Served() {
  if (monitor_.joinable()) {
    ::close(stop_[1]);
    monitor_.join();
    ::close(stop_[0]);
  }
  if (memory_ != nullptr) ::munmap(memory_, pages_ * kPage);
  if (fd_ >= 0) ::close(fd_);
}

bool Served::protect(std::size_t first, std::size_t count) const {
  uffdio_writeprotect request{.range = {reinterpret_cast<std::uintptr_t>(at(first)), count * kPage},
                              .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  return ::ioctl(fd_, UFFDIO_WRITEPROTECT, &request) == 0;
}

void Served::serve() {
  std::array<pollfd, 2> fds{
      {{.fd = fd_, .events = POLLIN, .revents = 0}, {.fd = stop_[0], .events = POLLIN, .revents = 0}}};
  while (::poll(fds.data(), fds.size(), -1) >= 0 || errno == EINTR) {
    if (fds[1].revents != 0) return;
    uffd_msg message;
    if (::read(fd_, &message, sizeof message) == sizeof message) answer(message);
  }
}

void Served::answer(const uffd_msg& message) {
  const std::uint64_t page = message.arg.pagefault.address & ~std::uint64_t{kPage - 1};
  if ((message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0) {
    ++protects_;
    uffdio_writeprotect request{.range = {page, kPage}, .mode = 0};
    ::ioctl(fd_, UFFDIO_WRITEPROTECT, &request);
    return;
  }
  ++faults_;
  std::array<char, kPage> source;
  source.fill(content((page - reinterpret_cast<std::uintptr_t>(memory_)) / kPage));
  uffdio_copy copy{
      .dst = page, .src = reinterpret_cast<std::uintptr_t>(source.data()), .len = kPage, .mode = 0, .copy = 0};
  ::ioctl(fd_, UFFDIO_COPY, &copy);
}

}  // namespace preload_test

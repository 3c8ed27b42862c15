// SPDX-License-Identifier: Apache-2.0
#include "support/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>

namespace userfault::stress {

const char* name_of(Backing backing) {
  switch (backing) {
    case Backing::kPrivate: return "private";
    case Backing::kShared: return "shared";
    case Backing::kMemfd: return "memfd";
  }
  return "?";
}

Memory::Memory(Backing backing, std::size_t pages) : pages_(pages), backing_(backing) {
  int flags = MAP_NORESERVE;
  int fd = -1;
  if (backing == Backing::kPrivate) flags |= MAP_PRIVATE | MAP_ANONYMOUS;
  if (backing == Backing::kShared) flags |= MAP_SHARED | MAP_ANONYMOUS;
  if (backing == Backing::kMemfd) {
    flags |= MAP_SHARED;
    fd = ::memfd_create("userfault-stress", MFD_CLOEXEC);
    if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes())) != 0) fail("memfd_create: %s", std::strerror(errno));
  }
  void* at = userfault_mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, flags, fd, 0);
  if (at == MAP_FAILED) fail("mmap of %zu pages: %s", pages, std::strerror(errno));
  if (fd >= 0) ::close(fd);
  data_ = static_cast<char*>(at);
}

Memory::~Memory() { static_cast<void>(userfault_munmap(data_, bytes())); }

void Memory::forget(std::size_t first, std::size_t count) const {
  const int advice = backing_ == Backing::kPrivate ? MADV_DONTNEED : MADV_REMOVE;
  if (userfault_madvise(page(first), count * kPage, advice) != 0)
    fail("madvise of pages %zu..%zu of %s memory: %s", first, first + count, name_of(backing_), std::strerror(errno));
}

Uffd::Uffd(const Options& options, int flags, std::uint64_t features) : fd_(userfault_open(options.engine, flags)) {
  if (fd_ < 0 && options.engine == USERFAULT_ENGINE_KERNEL)
    skip("the kernel refuses userfaultfd: %s", std::strerror(errno));
  if (fd_ < 0) fail("opening the %s engine: %s", options.engine_name, std::strerror(errno));
  if (userfault_ioctl_api(fd_, features, nullptr, nullptr) == 0) return;
  if (options.engine == USERFAULT_ENGINE_KERNEL) skip("the kernel lacks features %" PRIx64, features);
  fail("UFFDIO_API: %s", std::strerror(errno));
}

void Uffd::close() {
  if (fd_ >= 0 && userfault_close(fd_) != 0) fail("close: %s", std::strerror(errno));
  fd_ = -1;
}

void Uffd::register_all(const Memory& memory, std::uint64_t modes) const {
  if (userfault_ioctl_register(fd_, memory.data(), memory.bytes(), modes, nullptr) != 0)
    fail("UFFDIO_REGISTER: %s", std::strerror(errno));
}

int Uffd::copy(const Memory& memory, std::size_t page, const void* from, std::size_t count, std::uint64_t mode) const {
  std::size_t at = 0;
  while (at < count * kPage) {
    std::int64_t done = 0;
    if (userfault_ioctl_copy(fd_, memory.page(page) + at, static_cast<const char*>(from) + at, count * kPage - at, mode,
                             &done) == 0)
      return 0;
    if (errno != EAGAIN) return errno;
    if (done > 0) at += static_cast<std::size_t>(done);
  }
  return 0;
}

void Uffd::wake(const Memory& memory, std::size_t page, std::size_t count) const {
  if (userfault_ioctl_wake(fd_, memory.page(page), count * kPage) != 0) fail("UFFDIO_WAKE: %s", std::strerror(errno));
}

void Uffd::protect(const Memory& memory, std::size_t page, std::size_t count, bool on) const {
  while (userfault_ioctl_writeprotect(fd_, memory.page(page), count * kPage, on ? USERFAULT_WRITEPROTECT_MODE_WP : 0) !=
         0)
    if (errno != EAGAIN) fail("UFFDIO_WRITEPROTECT: %s", std::strerror(errno));
}

void make_page(void* into, std::uint64_t page, std::uint64_t tag) {
  auto* words = static_cast<std::uint64_t*>(into);
  for (std::uint64_t i = 0; i < kWords; ++i) words[i] = word_of(page, tag, i);
}

std::uint64_t check_page(const Memory& memory, std::size_t page) {
  const volatile std::uint64_t* words = memory.words(page);
  const std::uint64_t tag = tag_of(words[0]);
  for (std::uint64_t i = 0; i < kWords; ++i) {
    const std::uint64_t value = words[i];
    if (value != word_of(page, tag, i))
      fail("page %zu word %" PRIu64 " holds %016" PRIx64 ", its first word says filling %" PRIu64
           ": expected %016" PRIx64,
           page, i, value, tag, word_of(page, tag, i));
  }
  return tag;
}

}  // namespace userfault::stress

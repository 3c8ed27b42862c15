// SPDX-License-Identifier: Apache-2.0
// Reading: messages from a descriptor of ours, and what is in between us and the kernel elsewhere.
#include <algorithm>
#include <climits>
#include <cstring>

#include "preload/actions.h"
#include "preload/next.h"
#include "preload/pagemap.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

// A blocking read waits in poll(2), which is a cancellation point of libc's (pthreads(7)): a thread
// that is cancelled there ends at once, wherever the cancellation finds it. Waiting inside the engine
// would not be one. poll never goes on after a handler, read(2) does after one with SA_RESTART: where
// no handler lacks it, neither do we return.
ssize_t wait_and_read(int fd, void* buffer, size_t bytes) {
  for (;;) {
    const ssize_t got = engine::user::read_now(fd, buffer, bytes);
    if (got != -EAGAIN || !engine::user::is_blocking(fd)) return got;
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    if (call(next.poll, SYS_poll, &entry, nfds_t{1}, -1) < 0 && (errno != EINTR || some_handler_interrupts()))
      return -errno;
  }
}

ssize_t read_messages(int fd, void* buffer, size_t bytes) { return finish(wait_and_read(fd, buffer, bytes)); }

// userfaultfd_read_iter fills the pieces in order, a message may lie across two (Linux 6.11; before,
// each piece was a read of its own, which gives the same bytes for pieces of whole messages).
ssize_t read_messages(int fd, const iovec* pieces, int count) {
  constexpr std::size_t kMessages = 32;
  userfault_msg messages[kMessages];
  std::size_t room = 0;
  for (int i = 0; i < count; ++i) room += pieces[i].iov_len;
  const ssize_t got = wait_and_read(fd, messages, room < sizeof messages ? room : sizeof messages);
  const char* from = reinterpret_cast<const char*>(messages);
  for (ssize_t left = got; left > 0; ++pieces) {
    const auto part = std::min(static_cast<std::size_t>(left), pieces->iov_len);
    std::memcpy(pieces->iov_base, from, part);
    from += part;
    left -= static_cast<ssize_t>(part);
  }
  return finish(got);
}

}  // namespace

USERFAULT_PRELOADED ssize_t read(int fd, void* buffer, size_t bytes) {
  if (is_ours(fd)) return read_messages(fd, buffer, bytes);
  const ssize_t got = call(next.read, SYS_read, fd, buffer, bytes);
  mend_pagemap(fd, buffer, got, kAtPosition);
  return got;
}
extern "C" USERFAULT_ALIAS(read) ssize_t __read(int fd, void* buffer, size_t bytes);

USERFAULT_PRELOADED ssize_t __read_chk(int fd, void* buffer, size_t bytes, size_t size) {
  if (bytes <= size && is_ours(fd)) return read_messages(fd, buffer, bytes);
  return next.__read_chk != nullptr ? next.__read_chk(fd, buffer, bytes, size) : read(fd, buffer, bytes);
}

USERFAULT_PRELOADED ssize_t readv(int fd, const iovec* pieces, int count) {
  if (count > 0 && count <= IOV_MAX && is_ours(fd)) return read_messages(fd, pieces, count);
  return call(next.readv, SYS_readv, fd, pieces, count);
}

USERFAULT_PRELOADED ssize_t pread(int fd, void* buffer, size_t bytes, off_t offset) {
  const ssize_t got = call(next.pread, SYS_pread64, fd, buffer, bytes, offset);
  mend_pagemap(fd, buffer, got, offset);
  return got;
}
extern "C" {
USERFAULT_ALIAS(pread) ssize_t pread64(int fd, void* buffer, size_t bytes, off64_t offset);
USERFAULT_ALIAS(pread) ssize_t __pread64(int fd, void* buffer, size_t bytes, off64_t offset);
}

USERFAULT_PRELOADED ssize_t __pread_chk(int fd, void* buffer, size_t bytes, off_t offset, size_t size) {
  if (bytes > size && next.__pread_chk != nullptr) return next.__pread_chk(fd, buffer, bytes, offset, size);
  return pread(fd, buffer, bytes, offset);
}
extern "C" USERFAULT_ALIAS(__pread_chk) ssize_t __pread64_chk(int fd, void* buffer, size_t bytes, off64_t offset,
                                                               size_t size);

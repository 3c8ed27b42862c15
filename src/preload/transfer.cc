// SPDX-License-Identifier: Apache-2.0
// Reading messages: read(2) and readv(2) on a descriptor of ours.
#include <climits>
#include <cstring>

#include "preload/next.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

ssize_t read_messages(int fd, void* buffer, size_t bytes) noexcept { return finish(user_engine().read(fd, buffer, bytes)); }

// userfaultfd_read_iter fills the pieces in order, a message may lie across two (Linux 6.11; before,
// each piece was a read of its own, which gives the same bytes for pieces of whole messages).
ssize_t read_messages(int fd, const iovec* pieces, int count) noexcept {
  constexpr std::size_t kMessages = 32;
  userfault_msg messages[kMessages];
  std::size_t room = 0;
  for (int i = 0; i < count; ++i) room += pieces[i].iov_len;
  const ssize_t got = user_engine().read(fd, messages, room < sizeof messages ? room : sizeof messages);
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
  return call(next.read, SYS_read, fd, buffer, bytes);
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

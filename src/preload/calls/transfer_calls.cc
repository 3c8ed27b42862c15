// SPDX-License-Identifier: Apache-2.0
// Transfers between descriptors and memory: read(2), write(2) and theirs. Each knows how to make the
// call for what is left; repair.h does the rest.
#include <climits>

#include "preload/calls/messages.h"
#include "preload/open/numbers.h"
#include "preload/open/pagemap.h"
#include "preload/repair/repair.h"
#include "preload/symbols/libc_symbols.h"

using namespace userfault;
using namespace userfault::preload;

namespace {

template <typename Byte>
Byte* behind(Byte* buffer, std::size_t done) noexcept {
  return static_cast<Byte*>(static_cast<char*>(const_cast<std::remove_const_t<Byte>*>(buffer)) + done);
}

iovec piece_of(const void* buffer, std::size_t bytes) noexcept { return {const_cast<void*>(buffer), bytes}; }

// What is left of a vector behind `done` bytes.
class Rest {
 public:
  Rest(std::span<const iovec> pieces, std::size_t done) noexcept {
    if (done == 0) {
      pieces_ = pieces;
      return;
    }
    std::size_t count = 0;
    for (const iovec& piece : pieces) {
      const std::size_t skip = std::min(done, piece.iov_len);
      done -= skip;
      if (skip < piece.iov_len) cut_[count++] = {static_cast<char*>(piece.iov_base) + skip, piece.iov_len - skip};
    }
    pieces_ = {cut_, count};
  }
  [[nodiscard]] const iovec* data() const noexcept { return pieces_.data(); }
  [[nodiscard]] int count() const noexcept { return static_cast<int>(pieces_.size()); }

 private:
  iovec cut_[IOV_MAX];
  std::span<const iovec> pieces_;
};

bool is_valid(int count) noexcept { return count > 0 && count <= IOV_MAX; }
std::span<const iovec> span_of(const iovec* pieces, int count) noexcept {
  return {pieces, static_cast<std::size_t>(count)};
}
off_t moved(off_t offset, std::size_t done) noexcept { return offset + static_cast<off_t>(done); }

}  // namespace

USERFAULT_PRELOADED ssize_t read(int fd, void* buffer, size_t bytes) {
  if (ssize_t result = 0; may_be_served(fd) && read_messages(fd, buffer, bytes, &result)) return result;
  if (!active()) return next<Name::read>(fd, buffer, bytes);
  const iovec piece = piece_of(buffer, bytes);
  const ssize_t got = transferred(fd, {&piece, 1}, Access::kWrite, [=](std::size_t done) {
    return next<Name::read>(fd, behind(buffer, done), bytes - done);
  });
  mend_pagemap(fd, buffer, got, kAtPosition);
  return got;
}
extern "C" USERFAULT_ALIAS(read) ssize_t __read(int fd, void* buffer, size_t bytes);

USERFAULT_PRELOADED ssize_t __read_chk(int fd, void* buffer, size_t bytes, size_t size) {
  if (bytes > size) return next<Name::__read_chk>(fd, buffer, bytes, size);
  return read(fd, buffer, bytes);
}

USERFAULT_PRELOADED ssize_t pread(int fd, void* buffer, size_t bytes, off_t offset) {
  const iovec piece = piece_of(buffer, bytes);
  const ssize_t got = transferred(fd, {&piece, 1}, Access::kWrite, [=](std::size_t done) {
    return next<Name::pread>(fd, behind(buffer, done), bytes - done, moved(offset, done));
  });
  mend_pagemap(fd, buffer, got, offset);
  return got;
}
extern "C" {
USERFAULT_ALIAS(pread) ssize_t pread64(int fd, void* buffer, size_t bytes, off64_t offset);
USERFAULT_ALIAS(pread) ssize_t __pread64(int fd, void* buffer, size_t bytes, off64_t offset);
}

USERFAULT_PRELOADED ssize_t __pread_chk(int fd, void* buffer, size_t bytes, off_t offset, size_t size) {
  if (bytes > size) return next<Name::__pread_chk>(fd, buffer, bytes, offset, size);
  return pread(fd, buffer, bytes, offset);
}
extern "C" USERFAULT_ALIAS(__pread_chk) ssize_t
    __pread64_chk(int fd, void* buffer, size_t bytes, off64_t offset, size_t size);

USERFAULT_PRELOADED ssize_t write(int fd, const void* buffer, size_t bytes) {
  const iovec piece = piece_of(buffer, bytes);
  return transferred(fd, {&piece, 1}, Access::kRead,
                     [=](std::size_t done) { return next<Name::write>(fd, behind(buffer, done), bytes - done); });
}
extern "C" USERFAULT_ALIAS(write) ssize_t __write(int fd, const void* buffer, size_t bytes);

USERFAULT_PRELOADED ssize_t pwrite(int fd, const void* buffer, size_t bytes, off_t offset) {
  const iovec piece = piece_of(buffer, bytes);
  return transferred(fd, {&piece, 1}, Access::kRead, [=](std::size_t done) {
    return next<Name::pwrite>(fd, behind(buffer, done), bytes - done, moved(offset, done));
  });
}
extern "C" {
USERFAULT_ALIAS(pwrite) ssize_t pwrite64(int fd, const void* buffer, size_t bytes, off64_t offset);
USERFAULT_ALIAS(pwrite) ssize_t __pwrite64(int fd, const void* buffer, size_t bytes, off64_t offset);
}

USERFAULT_PRELOADED ssize_t readv(int fd, const iovec* pieces, int count) {
  if (ssize_t result = 0; is_valid(count) && may_be_served(fd) && read_messages(fd, pieces, count, &result))
    return result;
  if (!active() || !is_valid(count)) return next<Name::readv>(fd, pieces, count);
  return transferred(fd, span_of(pieces, count), Access::kWrite, [=](std::size_t done) {
    const Rest rest(span_of(pieces, count), done);
    return next<Name::readv>(fd, rest.data(), rest.count());
  });
}

USERFAULT_PRELOADED ssize_t writev(int fd, const iovec* pieces, int count) {
  if (!active() || !is_valid(count)) return next<Name::writev>(fd, pieces, count);
  return transferred(fd, span_of(pieces, count), Access::kRead, [=](std::size_t done) {
    const Rest rest(span_of(pieces, count), done);
    return next<Name::writev>(fd, rest.data(), rest.count());
  });
}

USERFAULT_PRELOADED ssize_t preadv(int fd, const iovec* pieces, int count, off_t offset) {
  if (!active() || !is_valid(count)) return next<Name::preadv>(fd, pieces, count, offset);
  return transferred(fd, span_of(pieces, count), Access::kWrite, [=](std::size_t done) {
    const Rest rest(span_of(pieces, count), done);
    return next<Name::preadv>(fd, rest.data(), rest.count(), moved(offset, done));
  });
}
extern "C" USERFAULT_ALIAS(preadv) ssize_t preadv64(int fd, const iovec* pieces, int count, off64_t offset);

USERFAULT_PRELOADED ssize_t pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  if (!active() || !is_valid(count)) return next<Name::pwritev>(fd, pieces, count, offset);
  return transferred(fd, span_of(pieces, count), Access::kRead, [=](std::size_t done) {
    const Rest rest(span_of(pieces, count), done);
    return next<Name::pwritev>(fd, rest.data(), rest.count(), moved(offset, done));
  });
}
extern "C" USERFAULT_ALIAS(pwritev) ssize_t pwritev64(int fd, const iovec* pieces, int count, off64_t offset);

// The flags of the second forms go with each call; an offset of -1 is the file's own position, which
// moves by itself.
namespace {

off_t moved_or_own(off_t offset, std::size_t done) noexcept { return offset == -1 ? -1 : moved(offset, done); }

}  // namespace

USERFAULT_PRELOADED ssize_t preadv2(int fd, const iovec* pieces, int count, off_t offset, int flags) {
  if (!active() || !is_valid(count)) return next<Name::preadv2>(fd, pieces, count, offset, flags);
  return transferred(fd, span_of(pieces, count), Access::kWrite, [=](std::size_t done) {
    const Rest rest(span_of(pieces, count), done);
    return next<Name::preadv2>(fd, rest.data(), rest.count(), moved_or_own(offset, done), flags);
  });
}
extern "C" USERFAULT_ALIAS(preadv2) ssize_t
    preadv64v2(int fd, const iovec* pieces, int count, off64_t offset, int flags);

USERFAULT_PRELOADED ssize_t pwritev2(int fd, const iovec* pieces, int count, off_t offset, int flags) {
  if (!active() || !is_valid(count)) return next<Name::pwritev2>(fd, pieces, count, offset, flags);
  return transferred(fd, span_of(pieces, count), Access::kRead, [=](std::size_t done) {
    const Rest rest(span_of(pieces, count), done);
    return next<Name::pwritev2>(fd, rest.data(), rest.count(), moved_or_own(offset, done), flags);
  });
}
extern "C" USERFAULT_ALIAS(pwritev2) ssize_t
    pwritev64v2(int fd, const iovec* pieces, int count, off64_t offset, int flags);

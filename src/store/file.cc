// SPDX-License-Identifier: Apache-2.0
// Reading and writing a file in whole extents.
//
// The rejected way: map the file and let UFFDIO_COPY read from the mapping. It saves a copy, but
// when somebody truncates the file the page that holds the new end reads as zeroes behind it, and
// there is no moment between looking and publishing the page in which to notice. With a buffer in
// between there is: the length is looked at again after the bytes are in (check_read).
#include "store/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/page_size.h"

namespace userfault::store {
namespace {

// truncate(2) zeroes the rest of the page that holds the new end, and may do so between the
// kernel's look at the length and its copy. A page that this has happened to ends in a zero byte;
// only then is a second look at the length worth its system call.
bool some_page_ends_in_zero(const std::byte* bytes, std::uint64_t offset, std::size_t length) {
  const std::size_t page = base::page_size();
  std::size_t end = page - static_cast<std::size_t>(offset % page);
  for (; end < length; end += page)
    if (bytes[end - 1] == std::byte{0}) return true;
  return length != 0 && bytes[length - 1] == std::byte{0};
}

ssize_t read_once(int fd, std::byte* into, std::size_t length, std::uint64_t offset, bool may_wait) {
  if (may_wait) return ::pread(fd, into, length, static_cast<off_t>(offset));
  const iovec vector{into, length};
  const ssize_t count = ::preadv2(fd, &vector, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  // A file system that cannot say whether it would wait: treat it as one that would.
  if (count < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) errno = EAGAIN;
  return count;
}

StoreResult<base::Fd> open_direct(const std::string& path, int access) {
  base::Fd fd(::open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK | O_DIRECT));
  if (!fd.valid()) return Unexpected(file_error(path, "cannot open it with O_DIRECT", errno));
  return fd;
}

}  // namespace

StoreError file_error(const std::string& path, const char* what, int code) {
  return {.code = code, .offset = 0, .text = path + ": " + what + ": " + std::strerror(code)};
}

StoreResult<OpenedFile> open_regular(const std::string& path, OpenMode mode) {
  const int access = mode.writable ? O_RDWR : O_RDONLY;
  OpenedFile file;
  file.fd = base::Fd(::open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK));
  if (!file.fd.valid())
    return Unexpected(
        file_error(path, mode.writable ? "cannot open it for writing" : "cannot open it for reading", errno));
  struct stat status {};
  if (::fstat(file.fd.get(), &status) < 0) return Unexpected(file_error(path, "cannot look at it", errno));
  if (!S_ISREG(status.st_mode))
    return Unexpected(StoreError{EINVAL, 0, path + ": is not a regular file; copy it into one first"});
  if (mode.direct) {
    auto direct = open_direct(path, access);
    if (!direct) return Unexpected(direct.error());
    struct stat again {};
    if (::fstat(direct->get(), &again) < 0 || again.st_ino != status.st_ino || again.st_dev != status.st_dev)
      return Unexpected(StoreError{ESTALE, 0, path + ": was replaced while it was opened; try again"});
    file.direct = std::move(*direct);
  }
  file.size = static_cast<std::uint64_t>(status.st_size);
  file.sparse = static_cast<std::uint64_t>(status.st_blocks) * 512 < file.size;
  return file;
}

Outcome read_exactly(int fd, std::uint64_t offset, std::byte* into, std::size_t length, bool may_wait) {
  std::size_t done = 0;
  while (done < length) {
    const ssize_t count = read_once(fd, into + done, length - done, offset + done, may_wait);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return cut_read(fd, offset, {count < 0 ? errno : ENODATA, done});
    done += static_cast<std::size_t>(count);
  }
  return check_read(fd, offset, into, length);
}

Outcome cut_read(int fd, std::uint64_t offset, Outcome failed) {
  return {failed.code, std::min(failed.bytes, check_room(fd, offset, failed.bytes).bytes)};
}

Outcome check_read(int fd, std::uint64_t offset, const std::byte* bytes, std::size_t length) {
  return some_page_ends_in_zero(bytes, offset, length) ? check_room(fd, offset, length) : Outcome{0, length};
}

Outcome check_room(int fd, std::uint64_t offset, std::size_t length) {
  struct stat status {};
  if (::fstat(fd, &status) < 0) return {errno, 0};
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= offset + length) return {0, length};
  return {ENODATA, size > offset ? static_cast<std::size_t>(size - offset) : 0};
}

Outcome write_exactly(int fd, std::uint64_t offset, const std::byte* from, std::size_t length) {
  if (const Outcome room = check_room(fd, offset, length); room.code != 0) return {room.code, 0};
  std::size_t done = 0;
  while (done < length) {
    const ssize_t count = ::pwrite(fd, from + done, length - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {errno, done};
    if (count == 0) return {EIO, done};
    done += static_cast<std::size_t>(count);
  }
  return {0, length};
}

}  // namespace userfault::store

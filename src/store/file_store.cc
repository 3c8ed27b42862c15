// SPDX-License-Identifier: Apache-2.0
// A part of a regular file, read with pread(2).
//
// The rejected way: map the file and let UFFDIO_COPY read from the mapping. It saves a copy, but
// when somebody truncates the file the page that holds the new end reads as zeroes behind it, and
// there is no moment between looking and publishing the page in which to notice. With a buffer in
// between there is: the length is looked at again after the bytes are in (read_exactly).
#include "store/file_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/page_size.h"

namespace userfault {

namespace store {
namespace {

StoreError error_at(const std::string& path, const char* what, int code) {
  return {.code = code, .offset = 0, .text = path + ": " + what + ": " + std::strerror(code)};
}

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

}  // namespace

StoreResult<OpenedFile> open_regular(const std::string& path) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return std::unexpected(error_at(path, "cannot open it for reading", errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return std::unexpected(error_at(path, "cannot look at it", errno));
  if (!S_ISREG(status.st_mode))
    return std::unexpected(StoreError{EINVAL, 0, path + ": is not a regular file; copy it into one first"});
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const bool sparse = static_cast<std::uint64_t>(status.st_blocks) * 512 < size;
  return OpenedFile{std::move(fd), size, sparse};
}

ReadOutcome read_exactly(int fd, std::uint64_t offset, std::byte* into, std::size_t length, bool may_wait) {
  std::size_t done = 0;
  while (done < length) {
    const ssize_t count = read_once(fd, into + done, length - done, offset + done, may_wait);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {errno, done};
    if (count == 0) return {ENODATA, done};
    done += static_cast<std::size_t>(count);
  }
  if (!some_page_ends_in_zero(into, offset, length)) return {0, length};
  struct stat status {};
  if (::fstat(fd, &status) < 0) return {errno, 0};
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= offset + length) return {0, length};
  return {ENODATA, size > offset ? static_cast<std::size_t>(size - offset) : 0};
}

namespace {

class FileStore final : public Store {
 public:
  FileStore(std::shared_ptr<const OpenedFile> file, const FileStoreOptions& options)
      : file_(std::move(file)), offset_(options.offset), length_(options.length), zero_tail_(options.zero_tail) {}

  std::uint64_t size() const override { return length_ + zero_tail_; }

  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      const ReadOutcome outcome = read_one(request);
      request.answer(outcome.code, outcome.bytes);
    }
  }

  StoreExtent extent(std::uint64_t offset, std::uint64_t length) const override {
    if (offset >= length_) return {true, length};
    const std::uint64_t in_file = std::min(length, length_ - offset);
    return file_->sparse ? sparse_extent(offset, in_file) : StoreExtent{false, in_file};
  }

 private:
  ReadOutcome read_one(const StoreRequest& request) const {
    const std::uint64_t in_file =
        request.offset < length_ ? std::min<std::uint64_t>(request.length, length_ - request.offset) : 0;
    const auto bytes = static_cast<std::size_t>(in_file);
    const ReadOutcome outcome =
        read_exactly(file_->fd.get(), offset_ + request.offset, request.data, bytes, request.may_wait);
    if (outcome.code != 0) return outcome;
    std::memset(request.data + bytes, 0, request.length - bytes);
    return {0, request.length};
  }

  // ENXIO means that only a hole follows, or that the file has shrunk; its size tells which. A file
  // that has shrunk is left to read() to find out, and never taken for zeroes.
  StoreExtent sparse_extent(std::uint64_t offset, std::uint64_t length) const {
    const auto start = static_cast<off_t>(offset_ + offset);
    const off_t data = ::lseek(file_->fd.get(), start, SEEK_DATA);
    if (data < 0) return {errno == ENXIO && still_has(offset + length), length};
    if (data > start) return {true, std::min(length, static_cast<std::uint64_t>(data - start))};
    const off_t hole = ::lseek(file_->fd.get(), start, SEEK_HOLE);
    if (hole <= start) return {false, length};
    return {false, std::min(length, static_cast<std::uint64_t>(hole - start))};
  }

  [[nodiscard]] bool still_has(std::uint64_t end) const {
    struct stat status {};
    return ::fstat(file_->fd.get(), &status) == 0 && static_cast<std::uint64_t>(status.st_size) >= offset_ + end;
  }

  const std::shared_ptr<const OpenedFile> file_;
  const std::uint64_t offset_;
  const std::uint64_t length_;
  const std::uint64_t zero_tail_;
};

}  // namespace

std::shared_ptr<Store> make_file_store(std::shared_ptr<const OpenedFile> file, const FileStoreOptions& options) {
  return std::make_shared<FileStore>(std::move(file), options);
}

}  // namespace store

StoreResult<std::shared_ptr<Store>> open_file_store(const std::string& path, const FileStoreOptions& options) {
  auto file = store::open_regular(path);
  if (!file) return std::unexpected(file.error());
  if (options.offset > file->size)
    return std::unexpected(StoreError{EINVAL, options.offset,
                                      path + ": the offset " + std::to_string(options.offset) +
                                          " lies behind its end at " + std::to_string(file->size)});
  const std::uint64_t left = file->size - options.offset;
  if (options.length != UINT64_MAX && options.length > left)
    return std::unexpected(StoreError{EINVAL, options.offset,
                                      path + ": truncated: " + std::to_string(options.length) + " bytes wanted at " +
                                          std::to_string(options.offset) + ", it has " + std::to_string(left)});
  return store::make_file_store(
      std::make_shared<const store::OpenedFile>(std::move(*file)),
      {.offset = options.offset, .length = std::min(options.length, left), .zero_tail = options.zero_tail});
}

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// A part of a regular file.
//
// What the page cache has is copied in the thread that asks, whatever else is chosen: handing it to
// another thread costs more than the copy. Only what is missing there goes to a queue.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/page_size.h"
#include "store/file_queue.h"

namespace userfault {
namespace store {
namespace {

class FileStore final : public Store {
 public:
  FileStore(std::string path, OpenedFile file, const FileStoreOptions& options, std::unique_ptr<FileQueue> queue)
      : path_(std::move(path)),
        file_(std::move(file)),
        offset_(options.offset),
        length_(options.length),
        zero_tail_(options.zero_tail),
        writable_(options.writable),
        mapped_(options.mapped),
        queue_(std::move(queue)) {}

  std::uint64_t size() const override { return length_ + zero_tail_; }
  bool writable() const override { return writable_; }

  void read(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) read_one(request);
  }

  void write(std::span<StoreRequest> batch) override {
    for (StoreRequest& request : batch) {
      if (!writable_) {
        request.answer(EROFS, 0);
      } else if (queue_ != nullptr) {
        queue_->submit(job_of(request, request.length, true));
      } else if (!request.may_wait) {
        request.answer(EAGAIN, 0);
      } else {
        finish(request, do_job(job_of(request, request.length, true)));
      }
    }
  }

  // What the kernel could not write back it says once for each descriptor, and then takes the pages for
  // clean (fsync(2), errors): so the first error stays.
  int flush() override {
    if (!writable_) return 0;
    if (const int lost = lost_.load(); lost != 0) return lost;
    if (::fdatasync(file_.fd.get()) == 0) return 0;
    int none = 0;
    (void)lost_.compare_exchange_strong(none, errno);
    return lost_.load();
  }

  StoreExtent extent(std::uint64_t offset, std::uint64_t length) const override {
    if (offset >= length_) return {true, length};
    const std::uint64_t in_file = std::min(length, length_ - offset);
    return file_.sparse ? sparse_extent(offset, in_file) : StoreExtent{false, in_file};
  }

  StoreFile file(std::uint64_t offset, std::uint64_t length) const override {
    if (!mapped_ || offset > length_ || length > length_ - offset) return {};
    return {.fd = file_.fd.get(), .offset = offset_ + offset};
  }

  std::string description() const override {
    const char* const way = queue_ != nullptr ? queue_->name() : "calls of pread(2)";
    return "the file " + path_ + " by " + way + (mapped_ ? ", or mapped" : "") +
           (file_.direct.valid() ? ", past the page cache" : "");
  }

 private:
  [[nodiscard]] FileJob job_of(StoreRequest& request, std::size_t length, bool write) const {
    return {.fd = file_.fd.get(),
            .direct = file_.direct.get(),
            .write = write,
            .offset = offset_ + request.offset,
            .data = request.data,
            .length = length,
            .finish = [](FileJob& job, Outcome outcome) { finish(*job.request, outcome); },
            .context = nullptr,
            .request = &request};
  }

  // The file's part of a request is done; what follows it is zero.
  static void finish(StoreRequest& request, Outcome outcome) {
    // An answer of EAGAIN has a meaning of its own, and only before the call returns.
    if (outcome.code == EAGAIN) outcome.code = EIO;
    request.answer(outcome.code, outcome.code == 0 ? request.length : outcome.bytes);
  }

  void read_one(StoreRequest& request) const {
    const std::uint64_t in_file =
        request.offset < length_ ? std::min<std::uint64_t>(request.length, length_ - request.offset) : 0;
    const auto bytes = static_cast<std::size_t>(in_file);
    std::memset(request.data + bytes, 0, request.length - bytes);
    if (bytes == 0) {
      request.answer(0, request.length);
      return;
    }
    const FileJob job = job_of(request, bytes, false);
    if (job.can_be_direct()) {
      read_direct(request, job);
      return;
    }
    const bool wait = request.may_wait && queue_ == nullptr;
    const Outcome outcome = read_exactly(job.fd, job.offset, job.data, bytes, wait);
    if (outcome.code != EAGAIN || wait) {
      finish(request, outcome);
    } else if (queue_ != nullptr) {
      queue_->submit(job);
    } else {
      request.answer(EAGAIN, 0);
    }
  }

  void read_direct(StoreRequest& request, const FileJob& job) const {
    if (queue_ != nullptr) {
      queue_->submit(job);
    } else if (request.may_wait) {
      finish(request, do_job(job));
    } else {
      request.answer(EAGAIN, 0);
    }
  }

  // ENXIO means that only a hole follows, or that the file has shrunk; its size tells which. A file
  // that has shrunk is left to read() to find out, and never taken for zeroes.
  StoreExtent sparse_extent(std::uint64_t offset, std::uint64_t length) const {
    const int fd = file_.fd.get();
    const auto start = static_cast<off_t>(offset_ + offset);
    const off_t data = ::lseek(fd, start, SEEK_DATA);
    if (data < 0) return {errno == ENXIO && check_room(fd, offset_ + offset, length).code == 0, length};
    if (data > start) return {true, std::min(length, static_cast<std::uint64_t>(data - start))};
    const off_t hole = ::lseek(fd, start, SEEK_HOLE);
    if (hole <= start) return {false, length};
    return {false, std::min(length, static_cast<std::uint64_t>(hole - start))};
  }

  const std::string path_;
  const OpenedFile file_;
  const std::uint64_t offset_;
  const std::uint64_t length_;
  const std::uint64_t zero_tail_;
  const bool writable_;
  const bool mapped_;
  std::atomic<int> lost_{0};  // what fdatasync(2) said when it first failed
  // Last: its threads end before the file is closed.
  const std::unique_ptr<FileQueue> queue_;
};

// nullptr: no queue is wanted, or none is to be had.
std::unique_ptr<FileQueue> make_queue(const FileStoreOptions& options) {
  if (options.access == FileAccess::kRing)
    if (auto ring = make_ring_queue()) return ring;
  if (options.access == FileAccess::kRing || options.access == FileAccess::kPool)
    return make_pool_queue(std::max(1u, options.threads));
  return nullptr;
}

StoreError part_error(const std::string& path, std::uint64_t offset, const std::string& why) {
  return {EINVAL, offset, path + ": " + why};
}

}  // namespace
}  // namespace store

StoreResult<std::shared_ptr<Store>> open_file_store(const std::string& path, const FileStoreOptions& options) {
  if (options.writable && options.zero_tail != 0)
    return Unexpected(store::part_error(path, 0, "zeroes behind the file cannot be written"));
  if (options.mapped && (options.writable || options.direct))
    return Unexpected(store::part_error(path, 0, "it can be mapped only for reading, and through the page cache"));
  if (options.mapped && options.offset % base::page_size() != 0)
    return Unexpected(store::part_error(path, options.offset, "only what begins at a page can be mapped"));
  auto file = store::open_regular(path, {.writable = options.writable, .direct = options.direct});
  if (!file) return Unexpected(file.error());
  if (options.offset > file->size)
    return Unexpected(store::part_error(
        path, options.offset,
        "the offset " + std::to_string(options.offset) + " lies behind its end at " + std::to_string(file->size)));
  const std::uint64_t left = file->size - options.offset;
  if (options.length != UINT64_MAX && options.length > left)
    return Unexpected(store::part_error(path, options.offset,
                                        "truncated: " + std::to_string(options.length) + " bytes wanted at " +
                                            std::to_string(options.offset) + ", it has " + std::to_string(left)));
  if (options.zero_tail > UINT64_MAX - file->size)
    return Unexpected(store::part_error(path, 0, "a store of more than 2^64 bytes"));
  FileStoreOptions exact = options;
  exact.length = std::min(options.length, left);
  return std::make_shared<store::FileStore>(path, std::move(*file), exact, store::make_queue(options));
}

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Where a file store puts what it cannot answer at once: a pool of threads, or an io_uring.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "store/file.h"

namespace userfault::store {

// One transfer, in whole. `finish` is called once, by a thread of the queue's.
struct FileJob {
  int fd = -1;
  int direct = -1;  // tried first, where it is there and the job is aligned for it
  bool write = false;
  std::uint64_t offset = 0;
  std::byte* data = nullptr;
  std::size_t length = 0;
  void (*finish)(FileJob& job, Outcome outcome) = nullptr;
  void* context = nullptr;
  StoreRequest* request = nullptr;

  [[nodiscard]] bool can_be_direct() const noexcept {
    return direct >= 0 && (offset | length | reinterpret_cast<std::uintptr_t>(data)) % kDirectAlignment == 0;
  }
};

// Does a job in the calling thread; may wait.
[[nodiscard]] Outcome do_job(const FileJob& job);

class FileQueue {
 public:
  FileQueue() = default;
  FileQueue(const FileQueue&) = delete;
  FileQueue& operator=(const FileQueue&) = delete;
  // All jobs are finished by then.
  virtual ~FileQueue() = default;
  virtual void submit(const FileJob& job) = 0;
  [[nodiscard]] virtual const char* name() const = 0;
};

// nullptr: no thread could be started.
[[nodiscard]] std::unique_ptr<FileQueue> make_pool_queue(unsigned threads);
// nullptr: the kernel refuses io_uring, or the library was built without it.
[[nodiscard]] std::unique_ptr<FileQueue> make_ring_queue();

}  // namespace userfault::store

// SPDX-License-Identifier: Apache-2.0
// A queue in front of threads that call pread(2) and pwrite(2).
#include <cerrno>
#include <deque>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"
#include "store/file_queue.h"

namespace userfault::store {

// A direct transfer that the device refuses (EINVAL: its blocks are larger than we assume) or that
// the file's end cut short goes on through the page cache.
Outcome do_job(const FileJob& job) {
  if (job.can_be_direct()) {
    const Outcome outcome = job.write ? write_exactly(job.direct, job.offset, job.data, job.length)
                                      : read_exactly(job.direct, job.offset, job.data, job.length, true);
    if (outcome.code != EINVAL) return outcome;
  }
  return job.write ? write_exactly(job.fd, job.offset, job.data, job.length)
                   : read_exactly(job.fd, job.offset, job.data, job.length, true);
}

namespace {

class PoolQueue final : public FileQueue {
 public:
  ~PoolQueue() override {
    {
      const base::MutexLock lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    threads_.clear();
  }

  // False when there is no thread at all; fewer than asked for will do.
  [[nodiscard]] bool start(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i) {
      base::Thread thread;
      if (thread.start("uf-file", [this] { work(); }) != 0) break;
      threads_.push_back(std::move(thread));
    }
    return !threads_.empty();
  }

  void submit(const FileJob& job) override {
    const base::MutexLock lock(mutex_);
    jobs_.push_back(job);
    changed_.notify_one();
  }

  const char* name() const override { return "a pool of pread(2) threads"; }

 private:
  void work() {
    FileJob job;
    while (next(job)) job.finish(job, do_job(job));
  }

  bool next(FileJob& job) {
    const base::MutexLock lock(mutex_);
    while (jobs_.empty() && !stopping_) changed_.wait(mutex_);
    if (jobs_.empty()) return false;
    job = jobs_.front();
    jobs_.pop_front();
    return true;
  }

  base::Mutex mutex_;
  base::Condition changed_;
  std::deque<FileJob> jobs_ USERFAULT_GUARDED_BY(mutex_);
  bool stopping_ USERFAULT_GUARDED_BY(mutex_) = false;
  std::vector<base::Thread> threads_;
};

}  // namespace

std::unique_ptr<FileQueue> make_pool_queue(unsigned threads) {
  auto queue = std::make_unique<PoolQueue>();
  return queue->start(threads) ? std::move(queue) : nullptr;
}

}  // namespace userfault::store

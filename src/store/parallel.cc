// SPDX-License-Identifier: Apache-2.0
#include "store/parallel.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread.h"

namespace userfault::store {

Pieces::Pieces(std::uint64_t count, unsigned threads)
    : count_(count), threads_(threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency())) {}

StoreResult<void> Pieces::run(const std::function<void()>& worker) {
  {
    std::vector<base::Thread> others(static_cast<std::size_t>(std::min<std::uint64_t>(threads_, count_)));
    // A thread that cannot be had makes it slower, not wrong: this one works in any case.
    for (std::size_t i = 1; i < others.size(); ++i) (void)others[i].start("uf-pack", worker);
    worker();
  }
  const base::MutexLock lock(mutex_);
  if (error_) return Unexpected(*error_);
  return {};
}

std::optional<std::uint64_t> Pieces::next() {
  const base::MutexLock lock(mutex_);
  if (error_ || next_ == count_) return std::nullopt;
  return next_++;
}

void Pieces::fail(StoreError error) {
  const base::MutexLock lock(mutex_);
  if (!error_) error_ = std::move(error);
  changed_.notify_all();
}

}  // namespace userfault::store

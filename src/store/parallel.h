// SPDX-License-Identifier: Apache-2.0
// The same work on many numbered pieces, by several threads, until the first failure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/mutex.h"
#include "userfault/store.h"

namespace userfault::store {

class Pieces {
 public:
  Pieces(std::uint64_t count, unsigned threads);

  // Runs `worker` in every thread, the caller's among them; it calls next() until that gives
  // nothing. The failure that was reported first, or nothing.
  [[nodiscard]] StoreResult<void> run(const std::function<void()>& worker);

  // The next piece; nothing when there is none or a thread has failed.
  [[nodiscard]] std::optional<std::uint64_t> next();
  void fail(StoreError error);
  // Waits until all pieces before this one are done and runs `step`, one thread at a time and in
  // the order of the pieces. False: somebody failed, and `step` was not run.
  template <typename Step>
  bool in_order(std::uint64_t piece, Step step) {
    const base::MutexLock lock(mutex_);
    while (turn_ != piece && !error_) changed_.wait(mutex_);
    if (error_) return false;
    step();
    ++turn_;
    changed_.notify_all();
    return true;
  }

 private:
  const std::uint64_t count_;
  const unsigned threads_;
  base::Mutex mutex_;
  base::Condition changed_;
  std::uint64_t next_ USERFAULT_GUARDED_BY(mutex_) = 0;
  std::uint64_t turn_ USERFAULT_GUARDED_BY(mutex_) = 0;
  std::optional<StoreError> error_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::store

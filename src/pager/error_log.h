// SPDX-License-Identifier: Apache-2.0
// What stores could not give or did not take. Each page stands there once, however often it is
// tried; the first 1024. Threads: any.
#pragma once

#include <algorithm>
#include <vector>

#include "base/mutex.h"
#include "userfault/pager.h"

namespace userfault::pager {

class ErrorLog {
 public:
  void add(const PageError& error) {
    const base::MutexLock lock(mutex_);
    const auto same = [&](const PageError& other) {
      return other.address == error.address && other.offset == error.offset && other.code == error.code &&
             other.write == error.write;
    };
    if (errors_.size() < kMost && std::ranges::none_of(errors_, same)) errors_.push_back(error);
  }
  [[nodiscard]] std::vector<PageError> all() const {
    const base::MutexLock lock(mutex_);
    return errors_;
  }

 private:
  static constexpr std::size_t kMost = 1024;
  mutable base::Mutex mutex_;
  std::vector<PageError> errors_ USERFAULT_GUARDED_BY(mutex_);
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// A class whose data has a lock, for the two files that use it rightly and wrongly.
#pragma once

#include "base/mutex.h"

namespace userfault::test {

class Guarded {
 public:
  void add_with_lock() {
    const base::MutexLock lock(mutex_);
    add();
  }
  void add_without_lock();

 private:
  void add() USERFAULT_REQUIRES(mutex_) { ++count_; }

  base::Mutex mutex_;
  int count_ USERFAULT_GUARDED_BY(mutex_) = 0;
};

}  // namespace userfault::test

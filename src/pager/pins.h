// SPDX-License-Identifier: Apache-2.0
// The ranges of a region that may not be evicted. A range that is pinned twice is unpinned twice.
// Threads: any. A leaf lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "pager/page_span.h"

namespace userfault::pager {

class Pins {
 public:
  void add(PageSpan span) {
    USERFAULT_CHECK(span.count != 0, "no page at all is pinned");
    const base::MutexLock lock(mutex_);
    spans_.push_back(span);
    any_ = true;
  }
  // False when there is no such range.
  [[nodiscard]] bool remove(PageSpan span) {
    const base::MutexLock lock(mutex_);
    const auto same = [&](PageSpan other) { return other.first == span.first && other.count == span.count; };
    const auto found = std::ranges::find_if(spans_, same);
    if (found == spans_.end()) return false;
    spans_.erase(found);
    any_ = !spans_.empty();
    return true;
  }
  // Asked by the page's owner, after it became that: a thread that pins the page afterwards waits for it.
  [[nodiscard]] bool cover(std::size_t page) const {
    if (!any_) return false;
    const base::MutexLock lock(mutex_);
    return std::ranges::any_of(spans_, [&](PageSpan span) { return span.contains(page); });
  }
  [[nodiscard]] std::size_t pages() const {
    const base::MutexLock lock(mutex_);
    std::size_t sum = 0;
    for (const PageSpan span : spans_) sum += span.count;
    return sum;
  }

 private:
  mutable base::Mutex mutex_;
  std::vector<PageSpan> spans_ USERFAULT_GUARDED_BY(mutex_);
  std::atomic<bool> any_{false};
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// Notices threads that walk upwards through a region, and says how much to fill for a fault.
//
// A fault that continues an earlier one doubles the window up to what one fill can hold; from then
// on the part behind the window is also fetched ahead, doubling again. Three faults at an even
// distance, up or down, are a walk in strides: the pages that it will come to are fetched ahead, ever
// more of them. A random access matches an earlier one only by chance and costs a look at eight
// entries. Threads: any. A leaf lock.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "pager/page_span.h"

namespace userfault::pager {

class Streams {
 public:
  struct Limits {
    std::size_t window;  // the most pages of one fill
    std::size_t ahead;   // the most pages fetched ahead at once
    // Where it costs nothing to have a page too many: what a walk is given as soon as it is one. 0: it
    // has to grow.
    std::size_t leap = 0;
  };
  struct Advice {
    PageSpan now;               // fill these, beginning with the page that was touched
    PageSpan ahead;             // and ask for these; may be empty
    std::ptrdiff_t stride = 1;  // from each page of `ahead` to the next; the end may lie outside the region
    std::size_t passed = 0;     // pages that were asked for ahead, and that the walk has passed by now
  };

  explicit Streams(Limits limits) noexcept : limits_(limits) {
    USERFAULT_CHECK(limits.window != 0 && limits.ahead != 0, "a walk is given no pages at all");
  }

  [[nodiscard]] Advice on_fault(std::size_t page) {
    const base::MutexLock lock(mutex_);
    const std::ptrdiff_t step = distance(latest_, page);
    latest_ = page;
    for (Stream& stream : streams_)
      if (stream.used != 0 && page > stream.last && page <= stream.next) return advance(stream, page);
    for (Stream& stream : streams_)
      if (stream.used != 0 && stream.continues(page)) return stride(stream, page);
    Stream& oldest = *std::ranges::min_element(streams_, {}, &Stream::used);
    oldest = {.last = page, .next = page + 1, .window = 1, .step = step, .used = ++clock_};
    return {.now = {page, 1}, .ahead = {}};
  }

 private:
  static std::ptrdiff_t distance(std::size_t from, std::size_t to) noexcept {
    return static_cast<std::ptrdiff_t>(to) - static_cast<std::ptrdiff_t>(from);
  }

  struct Stream {
    std::size_t last = 0;  // the page of its latest fault
    std::size_t next = 0;  // the first page that nothing was asked for
    std::size_t window = 0;
    std::size_t ahead = 0;
    std::size_t asked = 0;    // how many pages the latest ahead was
    std::ptrdiff_t step = 0;  // from the fault before it to its first one; a walk of ones is not one of these
    std::uint64_t used = 0;   // when, 0: never

    // The next page of a walk in strides, or the first one after those that were fetched ahead.
    [[nodiscard]] bool continues(std::size_t page) const noexcept {
      if (step == 0 || step == 1) return false;
      const std::ptrdiff_t gone = distance(last, page);
      return gone % step == 0 && gone / step >= 1 && gone / step <= static_cast<std::ptrdiff_t>(asked) + 1;
    }
  };

  [[nodiscard]] Advice advance(Stream& stream, std::size_t page) USERFAULT_REQUIRES(mutex_) {
    USERFAULT_CHECK(page > stream.last, "a walk goes backwards");
    stream.used = ++clock_;
    stream.last = page;
    if (limits_.leap != 0) {
      stream.next = page + limits_.leap;
      return {.now = {page, limits_.leap}, .ahead = {}};
    }
    const bool grown = stream.window >= limits_.window;
    stream.window = std::min(stream.window * 2, limits_.window);
    const PageSpan now{page, stream.window};
    stream.next = std::max(stream.next, now.end());
    const std::size_t passed = std::exchange(stream.asked, 0);
    if (!grown) return {.now = now, .ahead = {}, .passed = passed};
    stream.ahead = std::min(std::max(stream.ahead * 2, limits_.window), limits_.ahead);
    const PageSpan ahead{stream.next, stream.ahead};
    stream.next = ahead.end();
    stream.asked = ahead.count;
    return {.now = now, .ahead = ahead, .passed = passed};
  }

  // A thread that faults on what was asked for is faster than the store: no more is asked for before half
  // of that is passed.
  [[nodiscard]] Advice stride(Stream& stream, std::size_t page) USERFAULT_REQUIRES(mutex_) {
    USERFAULT_CHECK(stream.step != 0 && stream.step != 1, "a walk of ones is taken for one in strides");
    stream.used = ++clock_;
    const auto gone = static_cast<std::size_t>(distance(stream.last, page) / stream.step);
    const std::size_t left = stream.asked - std::min(stream.asked, gone);
    const std::size_t passed = std::min(stream.asked, gone);
    stream.last = page;
    stream.next = page;  // nothing of it is a walk of ones
    stream.asked = left;
    if (left * 2 > stream.ahead) return {.now = {page, 1}, .ahead = {}, .passed = passed};
    stream.ahead = std::min(std::max<std::size_t>(stream.ahead * 2, 2), std::min(limits_.ahead, kMostStrides));
    const std::ptrdiff_t start =
        static_cast<std::ptrdiff_t>(page) + stream.step * static_cast<std::ptrdiff_t>(left + 1);
    stream.asked += stream.ahead;
    if (start < 0) return {.now = {page, 1}, .ahead = {}, .passed = passed};
    return {.now = {page, 1},
            .ahead = {static_cast<std::size_t>(start), stream.ahead},
            .stride = stream.step,
            .passed = passed};
  }

  static constexpr std::size_t kMostStrides = 64;
  const Limits limits_;
  base::Mutex mutex_;
  std::array<Stream, 8> streams_ USERFAULT_GUARDED_BY(mutex_){};
  std::size_t latest_ USERFAULT_GUARDED_BY(mutex_) = 0;  // the page of the fault before this one
  std::uint64_t clock_ USERFAULT_GUARDED_BY(mutex_) = 0;
};

}  // namespace userfault::pager

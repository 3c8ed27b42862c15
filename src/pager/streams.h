// SPDX-License-Identifier: Apache-2.0
// Notices threads that walk upwards through a region, and says how much to fill for a fault.
//
// A fault that continues an earlier one doubles the window up to what one fill can hold; from then
// on the part behind the window is also fetched ahead, doubling again. A random access matches an
// earlier one only by chance and costs a look at eight entries. Threads: any.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace userfault::pager {

struct PageSpan {
  std::size_t first = 0;
  std::size_t count = 0;
  [[nodiscard]] std::size_t end() const noexcept { return first + count; }
};

class Streams {
 public:
  struct Limits {
    std::size_t window;  // the most pages of one fill
    std::size_t ahead;   // the most pages fetched ahead at once
  };
  struct Advice {
    PageSpan now;            // fill these, beginning with the page that was touched
    PageSpan ahead;          // and ask for these; may be empty
    std::size_t passed = 0;  // pages that were asked for ahead, and that the walk has passed by now
  };

  explicit Streams(Limits limits) noexcept : limits_(limits) {}

  [[nodiscard]] Advice on_fault(std::size_t page) {
    const std::lock_guard lock(mutex_);
    for (Stream& stream : streams_)
      if (stream.used != 0 && page > stream.last && page <= stream.next) return advance(stream, page);
    Stream& oldest = *std::ranges::min_element(streams_, {}, &Stream::used);
    oldest = {.last = page, .next = page + 1, .window = 1, .ahead = 0, .asked = 0, .used = ++clock_};
    return {.now = {page, 1}, .ahead = {}, .passed = 0};
  }

 private:
  struct Stream {
    std::size_t last = 0;  // the page of its latest fault
    std::size_t next = 0;  // the first page that nothing was asked for
    std::size_t window = 0;
    std::size_t ahead = 0;
    std::size_t asked = 0;   // how many pages the latest ahead was
    std::uint64_t used = 0;  // when, 0: never
  };

  Advice advance(Stream& stream, std::size_t page) {
    stream.used = ++clock_;
    stream.last = page;
    const bool grown = stream.window >= limits_.window;
    stream.window = std::min(stream.window * 2, limits_.window);
    const PageSpan now{page, stream.window};
    stream.next = std::max(stream.next, now.end());
    const std::size_t passed = std::exchange(stream.asked, 0);
    if (!grown) return {now, {}, passed};
    stream.ahead = std::min(std::max(stream.ahead * 2, limits_.window), limits_.ahead);
    const PageSpan ahead{stream.next, stream.ahead};
    stream.next = ahead.end();
    stream.asked = ahead.count;
    return {now, ahead, passed};
  }

  const Limits limits_;
  std::mutex mutex_;
  std::array<Stream, 8> streams_{};
  std::uint64_t clock_ = 0;
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// Readers on every processor read through a region while two monitors fill it.
//
// Both monitors fill what either was asked for, each with content of its own: for every page one of
// them has to win, the other has to hear EEXIST, and every reader has to see the winner's content,
// whole.
#include <fcntl.h>

#include <algorithm>
#include <barrier>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "support/memory.h"

namespace userfault::stress {
namespace {

constexpr std::size_t kPages = 96;
constexpr std::size_t kMonitors = 2;
constexpr std::size_t kReaders = 4;
constexpr std::size_t kMostAtOnce = 8;

class Fill {
 public:
  Fill(const Options& options, Backing backing)
      : options_(options),
        memory_(backing, kPages + kMonitors),
        uffd_(options, O_CLOEXEC),
        winners_(kPages + kMonitors) {
    uffd_.register_all(memory_, USERFAULT_REGISTER_MODE_MISSING);
  }

  std::uint64_t run(double seconds) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kMonitors; ++i) threads.emplace_back([this, i] { monitor(i); });
    for (std::size_t i = 0; i < kReaders; ++i) threads.emplace_back([this, i] { read_rounds(i); });
    const Clock clock(seconds);
    while (clock.more()) {
      ready_.arrive_and_wait();
      over_.arrive_and_wait();
      finish_round();
    }
    stop_.store(true);
    ready_.arrive_and_wait();
    // Each monitor ends when it is asked for one of the last pages.
    for (std::size_t i = 0; i < kMonitors; ++i) {
      static_cast<void>(memory_.words(kPages + i)[0]);
      while (ended_.load() <= i) std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    return rounds_;
  }

 private:
  void finish_round() {
    ++rounds_;
    for (std::size_t page = 0; page < kPages; ++page) {
      // The readers are through as soon as the page is there, which is before the call that filled it
      // has returned to its monitor and been noted.
      std::uint32_t winner = winners_[page].exchange(0);
      for (const Clock patience(10); winner == 0 && patience.more(); winner = winners_[page].exchange(0))
        std::this_thread::yield();
      if (winner == 0) fail("page %zu is there and nobody filled it", page);
      if (const std::uint64_t tag = check_page(memory_, page); tag != winner)
        fail("page %zu holds filling %llu, the one that succeeded is %u", page, static_cast<unsigned long long>(tag),
             winner);
    }
    memory_.forget(0, kPages);
  }

  void read_rounds(std::size_t index) {
    pin(static_cast<unsigned>(index));
    Random random(options_.seed + index);
    std::vector<std::size_t> order(kPages);
    for (std::size_t i = 0; i < kPages; ++i) order[i] = i;
    for (;;) {
      ready_.arrive_and_wait();
      if (stop_.load()) return;
      for (std::size_t i = kPages; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
      for (const std::size_t page : order) check_page(memory_, page);
      over_.arrive_and_wait();
    }
  }

  void monitor(std::size_t index) {
    Random random(~options_.seed + index);
    std::vector<char> source(kMostAtOnce * kPage);
    userfault_msg messages[4];
    for (;;) {
      const ssize_t got = userfault_read(uffd_.fd(), messages, (1 + random.below(4)) * sizeof messages[0]);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("read: %s", std::strerror(errno));
      bool last = false;
      for (ssize_t i = 0; i < got / static_cast<ssize_t>(sizeof messages[0]); ++i)
        last |= serve(index, messages[i], random, source);
      if (last) break;
    }
    ended_.fetch_add(1);
  }

  // Whether it was one of the pages that end a monitor.
  bool serve(std::size_t index, const userfault_msg& message, Random& random, std::vector<char>& source) {
    const std::size_t page = memory_.index_of(message.arg.pagefault.address);
    if (message.event != USERFAULT_EVENT_PAGEFAULT || page >= memory_.pages())
      fail("a message of event %x for page %zu", message.event, page);
    const std::size_t end = page < kPages ? kPages : page + 1;
    const std::size_t count = std::min<std::size_t>(1 + random.below(kMostAtOnce), end - page);
    const std::uint32_t tag = 1 + static_cast<std::uint32_t>(index + kMonitors * (fillings_[index]++ & 0xffffff));
    for (std::size_t i = 0; i < count; ++i) make_page(source.data() + i * kPage, page + i, tag);
    for (std::size_t i = 0; i < count; ++i) fill_one(page + i, source.data() + i * kPage, tag);
    uffd_.wake(memory_, page, count);
    return page >= kPages;
  }

  void fill_one(std::size_t page, const char* source, std::uint32_t tag) {
    const int error = uffd_.copy(memory_, page, source, 1, USERFAULT_COPY_MODE_DONTWAKE);
    if (error != 0 && error != EEXIST) fail("UFFDIO_COPY of page %zu: %s", page, std::strerror(error));
    if (error != 0) return;
    if (const std::uint32_t other = winners_[page].exchange(tag); other != 0)
      fail("page %zu was filled twice: by %u and by %u", page, other, tag);
  }

  const Options& options_;
  Memory memory_;
  Uffd uffd_;
  std::vector<std::atomic<std::uint32_t>> winners_;
  std::uint64_t fillings_[kMonitors] = {};
  std::barrier<> ready_{kReaders + 1};
  std::barrier<> over_{kReaders + 1};
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> ended_{0};
  std::uint64_t rounds_ = 0;
};

}  // namespace

std::uint64_t run_fill(const Options& options) {
  std::uint64_t rounds = 0;
  for (const Backing backing : kBackings) rounds += Fill(options, backing).run(options.seconds / 3);
  return rounds;
}

}  // namespace userfault::stress

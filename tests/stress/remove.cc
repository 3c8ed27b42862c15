// SPDX-License-Identifier: Apache-2.0
// Pages are taken away (MADV_DONTNEED, MADV_REMOVE) while monitors fill them and readers read them.
//
// A reader may see the page go and come back between two words, so every word says what it belongs
// to; and where the page was not taken away meanwhile, all of its words must be of one filling.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <thread>
#include <vector>

#include "support/memory.h"

namespace userfault::stress {
namespace {

constexpr std::size_t kPages = 48;
constexpr std::size_t kReaders = 2;
constexpr std::size_t kMonitors = 2;

class Remove {
 public:
  Remove(const Options& options, Backing backing)
      : options_(options),
        memory_(backing, kPages),
        uffd_(options, O_CLOEXEC | O_NONBLOCK),
        end_(::eventfd(0, EFD_CLOEXEC)),
        removals_(kPages) {
    uffd_.register_all(memory_, USERFAULT_REGISTER_MODE_MISSING);
  }
  ~Remove() { ::close(end_); }

  std::uint64_t run(double seconds) {
    std::vector<std::thread> readers;
    std::vector<std::thread> monitors;
    for (std::size_t i = 0; i < kMonitors; ++i) monitors.emplace_back([this, i] { monitor(i); });
    for (std::size_t i = 0; i < kReaders; ++i) readers.emplace_back([this, i] { read_until_stopped(i); });
    Random random(options_.seed);
    std::uint64_t rounds = 0;
    for (const Clock clock(seconds); clock.more(); ++rounds) take_away(random);
    stop_.store(true);
    for (std::thread& thread : readers) thread.join();
    const std::uint64_t one = 1;
    if (::write(end_, &one, sizeof one) != sizeof one) fail("eventfd: %s", std::strerror(errno));
    for (std::thread& thread : monitors) thread.join();
    return rounds;
  }

 private:
  void take_away(Random& random) {
    const std::size_t first = random.below(kPages);
    const std::size_t count = 1 + random.below(std::min<std::size_t>(kPages - first, 12));
    for (std::size_t i = 0; i < count; ++i) removals_[first + i].fetch_add(1);
    memory_.forget(first, count);
    for (std::size_t i = 0; i < count; ++i) removals_[first + i].fetch_add(1);
    for (std::uint64_t i = random.below(8); i > 0; --i) std::this_thread::yield();
  }

  void read_until_stopped(std::size_t index) {
    pin(static_cast<unsigned>(index));
    Random random(options_.seed + 1 + index);
    while (!stop_.load()) read_page(random.below(kPages));
  }

  void read_page(std::size_t page) {
    const std::uint32_t before = removals_[page].load();
    const volatile std::uint64_t* words = memory_.words(page);
    const std::uint64_t first = tag_of(words[0]);
    bool mixed = false;
    for (std::uint64_t i = 0; i < kWords; ++i) {
      const std::uint64_t value = words[i];
      const std::uint64_t tag = tag_of(value);
      if (tag == 0 || tag > fillings_.load() || value != word_of(page, tag, i))
        fail("page %zu word %" PRIu64 " holds %016" PRIx64 ", which nobody wrote there", page, i, value);
      mixed |= tag != first;
    }
    const bool undisturbed = before % 2 == 0 && removals_[page].load() == before;
    if (mixed && undisturbed) fail("page %zu is of two fillings, and was not taken away meanwhile", page);
  }

  void monitor(std::size_t index) {
    pin(static_cast<unsigned>(index));
    std::vector<char> source(kPage);
    pollfd waits[2] = {{.fd = uffd_.fd(), .events = POLLIN, .revents = 0},
                       {.fd = end_, .events = POLLIN, .revents = 0}};
    for (;;) {
      if (userfault_poll(waits, 2, -1) < 0 && errno != EINTR) fail("poll: %s", std::strerror(errno));
      if ((waits[1].revents & POLLIN) != 0) return;
      userfault_msg message;
      const ssize_t got = userfault_read(uffd_.fd(), &message, sizeof message);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got < 0) fail("read: %s", std::strerror(errno));
      const std::size_t page = memory_.index_of(message.arg.pagefault.address);
      make_page(source.data(), page, fillings_.fetch_add(1) + 1);
      const int error = uffd_.copy(memory_, page, source.data(), 1);
      if (error == EEXIST) uffd_.wake(memory_, page, 1);
      else if (error != 0) fail("UFFDIO_COPY of page %zu: %s", page, std::strerror(error));
    }
  }

  const Options& options_;
  Memory memory_;
  Uffd uffd_;
  int end_;
  std::vector<std::atomic<std::uint32_t>> removals_;
  std::atomic<std::uint64_t> fillings_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

std::uint64_t run_remove(const Options& options) {
  std::uint64_t rounds = 0;
  for (const Backing backing : kBackings) rounds += Remove(options, backing).run(options.seconds / 3);
  return rounds;
}

}  // namespace userfault::stress

// SPDX-License-Identifier: Apache-2.0
// Writers count every write while pages are protected and released under them.
//
// Each writer owns one word of each page and knows what it wrote there: no write may be lost. While
// somebody holds a page protected its content must not change: no write may be seen through.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "support/memory.h"

namespace userfault::stress {
namespace {

constexpr std::size_t kPages = 40;
constexpr std::size_t kWriters = 3;
constexpr std::uint64_t kModes = USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP;

class WriteProtect {
 public:
  WriteProtect(const Options& options, Backing backing)
      : options_(options),
        memory_(backing, kPages),
        uffd_(options, O_CLOEXEC | O_NONBLOCK, USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM),
        end_(::eventfd(0, EFD_CLOEXEC)),
        holders_(kPages) {
    uffd_.register_all(memory_, kModes);
    const std::vector<char> zeros(kPages * kPage);
    if (const int error = uffd_.copy(memory_, 0, zeros.data(), kPages); error != 0)
      fail("UFFDIO_COPY: %s", std::strerror(error));
  }
  ~WriteProtect() { ::close(end_); }

  std::uint64_t run(double seconds) {
    std::thread monitor([this] { serve(); });
    std::vector<std::thread> writers;
    for (std::size_t i = 0; i < kWriters; ++i) writers.emplace_back([this, i] { write_until_stopped(i); });
    Random random(options_.seed);
    std::uint64_t rounds = 0;
    for (const Clock clock(seconds); clock.more(); ++rounds) hold_some(random);
    stop_.store(true);
    for (std::thread& thread : writers) thread.join();
    const std::uint64_t one = 1;
    if (::write(end_, &one, sizeof one) != sizeof one) fail("eventfd: %s", std::strerror(errno));
    monitor.join();
    return rounds;
  }

 private:
  using Snapshot = std::array<std::uint64_t, kWriters>;

  Snapshot look(std::size_t page) const {
    Snapshot seen;
    for (std::size_t i = 0; i < kWriters; ++i) seen[i] = __atomic_load_n(&memory_.words(page)[i], __ATOMIC_RELAXED);
    return seen;
  }

  // Whoever holds a page's mutex is the only one who changes its protection.
  void hold_some(Random& random) {
    const std::size_t first = random.below(kPages);
    const std::size_t count = 1 + random.below(std::min<std::size_t>(kPages - first, 10));
    for (std::size_t i = 0; i < count; ++i) holders_[first + i].lock();
    uffd_.protect(memory_, first, count, true);
    std::vector<Snapshot> before;
    for (std::size_t i = 0; i < count; ++i) before.push_back(look(first + i));
    for (std::uint64_t i = random.below(6); i > 0; --i) std::this_thread::yield();
    for (std::size_t i = 0; i < count; ++i)
      if (look(first + i) != before[i]) fail("page %zu was written while it was protected", first + i);
    if (random.chance(30)) uffd_.protect(memory_, first, count, false);
    for (std::size_t i = 0; i < count; ++i) holders_[first + i].unlock();
    for (std::uint64_t i = random.below(6); i > 0; --i) std::this_thread::yield();
  }

  void write_until_stopped(std::size_t index) {
    pin(static_cast<unsigned>(index));
    Random random(options_.seed + 1 + index);
    std::array<std::uint64_t, kPages> written{};
    const auto check = [&](std::size_t page) {
      const std::uint64_t found = __atomic_load_n(&memory_.words(page)[index], __ATOMIC_RELAXED);
      if (found != written[page])
        fail("page %zu, writer %zu: wrote %" PRIu64 " times, found %" PRIu64, page, index, written[page], found);
    };
    while (!stop_.load()) {
      const std::size_t page = random.below(kPages);
      check(page);
      __atomic_store_n(&memory_.words(page)[index], ++written[page], __ATOMIC_RELAXED);
      check(page);
    }
    for (std::size_t page = 0; page < kPages; ++page) check(page);
  }

  void serve() {
    pollfd waits[2] = {{.fd = uffd_.fd(), .events = POLLIN, .revents = 0},
                       {.fd = end_, .events = POLLIN, .revents = 0}};
    for (;;) {
      if (userfault_poll(waits, 2, -1) < 0 && errno != EINTR) fail("poll: %s", std::strerror(errno));
      if ((waits[1].revents & POLLIN) != 0) return;
      userfault_msg message;
      const ssize_t got = userfault_read(uffd_.fd(), &message, sizeof message);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got < 0) fail("read: %s", std::strerror(errno));
      constexpr std::uint64_t kFlags = USERFAULT_PAGEFAULT_FLAG_WP | USERFAULT_PAGEFAULT_FLAG_WRITE;
      if (message.arg.pagefault.flags != kFlags) fail("a fault with flags %" PRIx64, +message.arg.pagefault.flags);
      const std::size_t page = memory_.index_of(message.arg.pagefault.address);
      const std::lock_guard holds(holders_.at(page));
      uffd_.protect(memory_, page, 1, false);
    }
  }

  const Options& options_;
  Memory memory_;
  Uffd uffd_;
  int end_;
  std::vector<std::mutex> holders_;
  std::atomic<bool> stop_{false};
};

}  // namespace

std::uint64_t run_write_protect(const Options& options) {
  std::uint64_t rounds = 0;
  for (const Backing backing : kBackings) rounds += WriteProtect(options, backing).run(options.seconds / 3);
  return rounds;
}

}  // namespace userfault::stress

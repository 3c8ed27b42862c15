// SPDX-License-Identifier: Apache-2.0
// Pages are filled, with and without protection, while their protection changes.
//
// Either order of the two is right; what must not be is a page that counts as protected and lets a
// write through, or one that does not and never lets the write happen.
#include <fcntl.h>

#include <barrier>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <thread>
#include <vector>

#include "support/memory.h"

namespace userfault::stress {
namespace {

constexpr std::size_t kPages = 64;
constexpr std::uint64_t kModes = USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP;
constexpr std::uint64_t kFeatures = USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM | USERFAULT_FEATURE_WP_UNPOPULATED;

class WriteProtectFill {
 public:
  WriteProtectFill(const Options& options, Backing backing)
      : options_(options),
        memory_(backing, kPages),
        uffd_(options, O_CLOEXEC | O_NONBLOCK, kFeatures),
        messages_(kPages) {
    uffd_.register_all(memory_, kModes);
  }

  std::uint64_t run(double seconds) {
    std::thread filler([this] { fill_rounds(); });
    std::thread writer([this] { write_rounds(); });
    Random random(options_.seed);
    std::uint64_t rounds = 0;
    for (const Clock clock(seconds); clock.more(); ++rounds) round(random, rounds + 1);
    stop_.store(true);
    start_.arrive_and_wait();
    filler.join();
    writer.join();
    return rounds;
  }

 private:
  void round(Random& random, std::uint64_t number) {
    round_.store(number);
    start_.arrive_and_wait();
    while (!filled_.load()) {
      const std::size_t first = random.below(kPages);
      uffd_.protect(memory_, first, 1 + random.below(kPages - first), random.chance(60));
    }
    filled_.store(false);
    const std::vector<bool> is_protected = ask();
    for (unsigned& count : messages_) count = 0;
    write_.arrive_and_wait();
    serve_writer();
    for (std::size_t page = 0; page < kPages; ++page) {
      if (messages_[page] != (is_protected[page] ? 1 : 0))
        fail("page %zu counts as %s, and writing to it gave %u messages", page,
             is_protected[page] ? "protected" : "not protected", messages_[page]);
      if (const std::uint64_t found = memory_.words(page)[1]; found != number)
        fail("page %zu: %" PRIu64 " was written, %" PRIu64 " is there", page, number, found);
      if (memory_.words(page)[2] != word_of(page, number, 2)) fail("page %zu lost what it was filled with", page);
    }
    memory_.forget(0, kPages);
  }

  // Which pages the engine holds to be protected.
  std::vector<bool> ask() const {
    std::vector<bool> result(kPages);
    for (std::size_t page = 0; page < kPages; ++page) {
      userfault_page_region region{};
      userfault_scan scan{};
      scan.size = sizeof scan;
      scan.start = reinterpret_cast<std::uint64_t>(memory_.page(page));
      scan.end = scan.start + kPage;
      scan.vec = reinterpret_cast<std::uint64_t>(&region);
      scan.vec_len = 1;
      scan.category_mask = USERFAULT_PAGE_IS_PRESENT;
      scan.return_mask = USERFAULT_PAGE_IS_WRITTEN;
      const long found = userfault_pagemap_scan(&scan);
      if (found < 0 && (errno == ENOTTY || errno == EINVAL) && options_.engine == USERFAULT_ENGINE_KERNEL)
        skip("the kernel has no PAGEMAP_SCAN");
      if (found != 1) fail("PAGEMAP_SCAN of page %zu, which is there: %ld", page, found);
      result[page] = (region.categories & USERFAULT_PAGE_IS_WRITTEN) == 0;
    }
    return result;
  }

  void serve_writer() {
    while (!written_.load()) {
      userfault_msg message;
      const ssize_t got = userfault_read(uffd_.fd(), &message, sizeof message);
      if (got < 0 && errno == EAGAIN) {
        std::this_thread::yield();
        continue;
      }
      if (got < 0) fail("read: %s", std::strerror(errno));
      const std::size_t page = memory_.index_of(message.arg.pagefault.address);
      if ((message.arg.pagefault.flags & USERFAULT_PAGEFAULT_FLAG_WP) == 0) fail("page %zu is missing", page);
      ++messages_.at(page);
      uffd_.protect(memory_, page, 1, false);
    }
    written_.store(false);
  }

  void fill_rounds() {
    pin(1);
    Random random(options_.seed + 1);
    std::vector<char> source(kPage);
    for (;;) {
      start_.arrive_and_wait();
      if (stop_.load()) return;
      for (std::size_t i = 0; i < kPages; ++i) {
        const std::size_t page = (i * 29) % kPages;
        make_page(source.data(), page, round_.load());
        const std::uint64_t mode = random.chance(50) ? USERFAULT_COPY_MODE_WP : 0;
        if (const int error = uffd_.copy(memory_, page, source.data(), 1, mode); error != 0)
          fail("UFFDIO_COPY of page %zu: %s", page, std::strerror(error));
      }
      filled_.store(true);
    }
  }

  void write_rounds() {
    for (;;) {
      start_.arrive_and_wait();
      if (stop_.load()) return;
      write_.arrive_and_wait();
      for (std::size_t page = 0; page < kPages; ++page) memory_.words(page)[1] = round_.load();
      written_.store(true);
    }
  }

  const Options& options_;
  Memory memory_;
  Uffd uffd_;
  std::vector<unsigned> messages_;
  std::barrier<> start_{3};
  std::barrier<> write_{2};
  std::atomic<std::uint64_t> round_{0};
  std::atomic<bool> filled_{false};
  std::atomic<bool> written_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace

std::uint64_t run_write_protect_fill(const Options& options) {
  std::uint64_t rounds = 0;
  for (const Backing backing : kBackings) rounds += WriteProtectFill(options, backing).run(options.seconds / 3);
  return rounds;
}

}  // namespace userfault::stress

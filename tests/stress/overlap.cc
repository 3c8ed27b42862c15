// SPDX-License-Identifier: Apache-2.0
// Two monitors copy overlapping runs of pages, from sources that often end early, under readers.
//
// A copy of several pages takes them all before it fills the first, and gives back what it could not
// fill: because the source ends (EFAULT at its second page), or because a page is there (EEXIST in the
// middle). What one monitor gives back the other may want in the same moment. Every page must be seen
// whole, a page that somebody saw must stay as it is, and nobody may be stuck.
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <semaphore>
#include <thread>
#include <vector>

#include "support/memory.h"

namespace userfault::stress {
namespace {

constexpr std::size_t kMonitors = 2;
constexpr std::size_t kReaders = 2;
constexpr std::chrono::seconds kPatience{20};  // after this a thread that has not come through is stuck
constexpr std::size_t kHuge = std::size_t{2} << 20;
// What a reader found; no filling has the number 0, and this stands for a page of zeroes.
constexpr std::uint64_t kZeroes = 0;

struct Kind {
  const char* name;
  int map_flags;
  std::size_t unit;   // bytes of a page
  std::size_t units;  // pages of the region
  std::size_t most;   // pages of one copy
  std::uint64_t modes;
  std::uint64_t features;
  int forget;
};
constexpr Kind kKinds[] = {
    {"private memory, missing", MAP_PRIVATE, kPage, 24, 6, USERFAULT_REGISTER_MODE_MISSING, 0, MADV_DONTNEED},
    {"private memory, write-protect only", MAP_PRIVATE, kPage, 24, 6, USERFAULT_REGISTER_MODE_WP, 0, MADV_DONTNEED},
    {"shared memory, missing", MAP_SHARED, kPage, 24, 6, USERFAULT_REGISTER_MODE_MISSING, 0, MADV_REMOVE},
    {"private huge pages, missing", MAP_PRIVATE | MAP_HUGETLB, kHuge, 4, 3, USERFAULT_REGISTER_MODE_MISSING,
     USERFAULT_FEATURE_MISSING_HUGETLBFS, MADV_DONTNEED},
};

char* map(std::size_t bytes, int flags) {
  void* at = userfault_mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

// The source of one monitor: pages that can be read, and behind them one that cannot.
class Source {
 public:
  explicit Source(const Kind& kind) : unit_(kind.unit), most_(kind.most), data_(map((most_ + 1) * unit_, MAP_PRIVATE)) {
    if (data_ == nullptr || ::mprotect(data_ + most_ * unit_, unit_, PROT_NONE) != 0)
      fail("a source: %s", std::strerror(errno));
  }
  ~Source() { ::munmap(data_, (most_ + 1) * unit_); }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // Content for pages from `first` on, of which `readable` can be read.
  const char* fill(std::size_t first, std::size_t readable, std::uint64_t tag) const {
    char* from = data_ + (most_ - readable) * unit_;
    const std::size_t small = unit_ / kPage;
    for (std::size_t i = 0; i < readable * small; ++i) make_page(from + i * kPage, first * small + i, tag);
    return from;
  }

 private:
  std::size_t unit_;
  std::size_t most_;
  char* data_;
};

class Overlap {
 public:
  Overlap(const Options& options, const Kind& kind, char* memory)
      : options_(options), kind_(kind), memory_(memory), uffd_(options, O_CLOEXEC | O_NONBLOCK, kind.features) {
    if (userfault_ioctl_register(uffd_.fd(), memory_, bytes(), kind_.modes, nullptr) != 0)
      fail("UFFDIO_REGISTER of %s: %s", kind_.name, std::strerror(errno));
    for (auto& found : found_) found.resize(kind_.units);
  }
  ~Overlap() { static_cast<void>(userfault_munmap(memory_, bytes())); }
  Overlap(const Overlap&) = delete;
  Overlap& operator=(const Overlap&) = delete;

  std::uint64_t run(double seconds) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kMonitors; ++i) threads.emplace_back([this, i] { monitor_rounds(i); });
    for (std::size_t i = 0; i < kReaders; ++i) threads.emplace_back([this, i] { reader_rounds(i); });
    std::uint64_t rounds = 0;
    for (const Clock clock(seconds); clock.more(); ++rounds) round();
    stop_.store(true);
    begin_round();
    for (std::thread& thread : threads) thread.join();
    return rounds;
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return kind_.units * kind_.unit; }

  void round() {
    readers_left_ = kReaders;
    begin_round();
    wait_for(reader_through_, kReaders, "reader");
    wait_for(monitor_through_, kMonitors, "monitor");
    for (std::size_t page = 0; page < kind_.units; ++page) {
      const std::uint64_t now = tag_at(page);
      for (const auto& found : found_)
        if (found[page] != now)
          fail("%s: page %zu was filling %" PRIu64 " to a reader and is %" PRIu64 " now", kind_.name, page, found[page],
               now);
    }
    if (userfault_madvise(memory_, bytes(), kind_.forget) != 0) fail("madvise: %s", std::strerror(errno));
  }

  void begin_round() {
    ++round_;
    round_.notify_all();
  }

  void wait_for(std::counting_semaphore<>& through, std::size_t count, const char* who) const {
    for (std::size_t i = 0; i < count; ++i)
      if (!through.try_acquire_for(kPatience))
        fail("%s: a %s is stuck, on a page that is neither filled nor missing", kind_.name, who);
  }

  // Reads every word; what is not of one filling, or all zero where that can be, is wrong.
  std::uint64_t tag_at(std::size_t page) const {
    const std::size_t small = kind_.unit / kPage;
    const volatile auto* words = reinterpret_cast<const volatile std::uint64_t*>(memory_ + page * kind_.unit);
    const std::uint64_t first = words[0];
    const bool zero = first == 0 && (kind_.modes & USERFAULT_REGISTER_MODE_MISSING) == 0;
    const std::uint64_t tag = zero ? kZeroes : tag_of(first);
    for (std::size_t i = 0; i < small * kWords; ++i) {
      const std::uint64_t value = words[i];
      const std::uint64_t expected = zero ? 0 : word_of(page * small + i / kWords, tag, i % kWords);
      if (value != expected)
        fail("%s: page %zu word %zu holds %016" PRIx64 ", its first word %016" PRIx64 ": not whole", kind_.name, page,
             i, value, first);
    }
    return tag;
  }

  void reader_rounds(std::size_t index) {
    pin(static_cast<unsigned>(index));
    Random random(options_.seed + index);
    std::vector<std::size_t> order(kind_.units);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (unsigned round = 1;; ++round) {
      round_.wait(round - 1);
      if (stop_.load()) return;
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
      for (const std::size_t page : order) found_[index][page] = tag_at(page);
      --readers_left_;
      reader_through_.release();
    }
  }

  void monitor_rounds(std::size_t index) {
    Random random(~options_.seed + index);
    const Source source(kind_);
    std::uint64_t number = 0;
    for (unsigned round = 1;; ++round) {
      round_.wait(round - 1);
      if (stop_.load()) return;
      while (readers_left_.load() > 0) copy(random, source, 1 + index + kMonitors * (++number & 0xffffff));
      monitor_through_.release();
    }
  }

  // One copy of up to `most` pages, more often than not from a source that ends with its first page.
  void copy(Random& random, const Source& source, std::uint64_t tag) const {
    const std::size_t count = 1 + random.below(kind_.most);
    const std::size_t first = random.below(kind_.units - count + 1);
    const char* from = source.fill(first, random.chance(60) ? 1 : count, tag);
    std::int64_t done = 0;
    userfault_msg message;
    static_cast<void>(userfault_read(uffd_.fd(), &message, sizeof message));
    if (userfault_ioctl_copy(uffd_.fd(), memory_ + first * kind_.unit, from, count * kind_.unit, 0, &done) == 0) return;
    if (errno != EAGAIN && errno != EEXIST && errno != EFAULT)
      fail("%s: UFFDIO_COPY of pages %zu..%zu: %s", kind_.name, first, first + count, std::strerror(errno));
  }

  const Options& options_;
  const Kind& kind_;
  char* memory_;
  Uffd uffd_;
  std::vector<std::uint64_t> found_[kReaders];
  std::atomic<unsigned> round_{0};
  std::atomic<std::size_t> readers_left_{0};
  std::counting_semaphore<> reader_through_{0};
  std::counting_semaphore<> monitor_through_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

std::uint64_t run_overlap(const Options& options) {
  std::uint64_t rounds = 0;
  for (const Kind& kind : kKinds) {
    char* memory = map(kind.units * kind.unit, kind.map_flags);
    if (memory == nullptr && kind.unit == kHuge) {
      std::printf("overlap: without %s, of which %zu are needed (vm.nr_hugepages)\n", kind.name, 2 * kind.units);
      continue;
    }
    if (memory == nullptr) fail("mmap of %s: %s", kind.name, std::strerror(errno));
    rounds += Overlap(options, kind, memory).run(options.seconds / static_cast<double>(std::size(kKinds)));
  }
  return rounds;
}

}  // namespace userfault::stress

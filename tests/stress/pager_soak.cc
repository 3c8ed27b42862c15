// SPDX-License-Identifier: Apache-2.0
// The pager with everything at once, against a model that knows every byte.
//
// Rounds with random shapes: budgets from four pages up, all policies, page sizes, numbers of
// threads. Two writable mappings share the budget; the store answers late, short, with errors, and
// takes no writes for a while. Four threads of the program read, write, drop, remove, pin, prefetch
// and flush. A mapping's pages are of two kinds:
//   shared   each thread has a quarter of each page and counts in it: a lost write or a page that
//            is stale or torn is a wrong count. Never removed, but dropped.
//   owned    one thread's alone. Each of its words says the page and a version, written upwards.
//            After a removal the page has some version that the store can have: at least the one
//            that was flushed last, at most the last one written, or the later of two and then the
//            earlier where it was written back in the middle of writing. (The two need not be
//            neighbours: what lay between may have gone with a removal before.)
// At the end the mappings are closed, and the store's bytes are compared with the model.
// usage: pager_soak [--engine kernel|user] [--seconds N] [--seed N] [--tracking faults|scan]
// USERFAULT_STRESS_SECONDS overrides --seconds.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>

#include "support/faulty_store.h"
#include "userfault/pager.h"

namespace {

using namespace userfault;
using namespace userfault::stress;

constexpr unsigned kThreads = 4;
constexpr std::size_t kQuarter = kWords / kThreads;

struct Shape {
  PagerOptions pager;
  MapOptions map;
  std::size_t pages = 0;  // of 4 KiB, a mapping
};

// What is to be tried alone; else each round takes one or the other.
const char* only_tracking = "";

WriteTracking random_tracking(Random& random) {
  const bool scan = random.chance(50);
  if (std::strcmp(only_tracking, "") != 0)
    return std::strcmp(only_tracking, "scan") == 0 ? WriteTracking::kScan : WriteTracking::kFaults;
  return scan ? WriteTracking::kScan : WriteTracking::kFaults;
}

Shape random_shape(Random& random, EngineKind engine) {
  Shape shape;
  shape.pages = 64u << random.below(3);
  shape.map.page_size = kPage << (2 * random.below(3));
  shape.map.around = std::size_t{1} << random.below(4);
  shape.map.detect_streams = random.chance(50);
  shape.map.writable = true;
  const std::uint64_t least = 4 * shape.map.page_size;
  const std::uint64_t budgets[] = {0, least, least + 3 * kPage, 4 * least, shape.pages * kPage};
  shape.pager = {.engine = engine,
                 .workers = static_cast<unsigned>(1 + random.below(3)),
                 .prefetchers = static_cast<unsigned>(random.below(6)),
                 .store_attempts = 4,  // one for a read of many pages, two that fail
                 .store_pause = std::chrono::microseconds(10),
                 .budget = budgets[random.below(5)],
                 .eviction = static_cast<Eviction>(random.below(3)),
                 .write_tracking = random_tracking(random),
                 .evictors = static_cast<unsigned>(1 + random.below(2)),
                 .write_back_at = random.chance(50) ? 8 * kPage : 0,
                 .memory_wait = std::chrono::milliseconds(0),
                 .prefetch_queue = 1 + random.below(64),
                 .fills_in_flight = static_cast<unsigned>(1 + random.below(4))};
  return shape;
}

// What is known of one page that a thread owns.
struct Owned {
  std::uint32_t latest = 0;   // the version written last
  std::uint32_t flushed = 0;  // the store has at least this one
  bool removed = false;       // since it was last looked at
};

class World {
 public:
  World(const Shape& shape, const Pager& pager, std::uint64_t seed)
      : shape_(shape), store_(std::make_shared<FaultyStore>(shape.pages * kPage, seed)), mapping_(map(pager)) {
    counts_.resize(shape.pages * kThreads * kQuarter);
    owned_.resize(shape.pages);
  }
  void act(unsigned thread, Random& random) {
    const std::size_t page = random.below(shape_.pages);
    switch (random.below(64)) {
      case 0: drop(page); break;
      case 1: remove(owned_near(page, thread)); break;
      case 2: flush(thread); break;
      case 3: prefetch(random); break;
      case 4: pin(page); break;
      default:
        random.chance(50) ? count(page, thread, random) : write(owned_near(page, thread), random.chance(50));
        break;
    }
  }
  void fail_writes(bool all) { store_->fail_writes(all); }
  void finish() {
    store_->calm();
    for (std::size_t page = 0; page < shape_.pages; ++page)
      if (is_owned(page)) check(page);
    if (const auto closed = mapping_.close(); !closed) fail("close: %s", closed.error().message().c_str());
    compare();
  }

 private:
  Mapping map(const Pager& pager) {
    auto mapping = pager.map(store_, shape_.map);
    if (!mapping) fail("map: %s", mapping.error().message().c_str());
    return std::move(*mapping);
  }
  static bool is_owned(std::size_t page) { return page % 2 == 1; }
  // Pages 1, 3, 5 … belong to the threads in turns.
  [[nodiscard]] std::size_t owned_near(std::size_t page, unsigned thread) const {
    return page / (2 * kThreads) * (2 * kThreads) + 2 * thread + 1;
  }
  [[nodiscard]] volatile std::uint64_t* words(std::size_t page) const {
    return reinterpret_cast<volatile std::uint64_t*>(mapping_.data() + page * kPage);
  }
  static std::uint64_t stamp(std::size_t page, std::uint32_t version) {
    return version == 0 ? 0 : (static_cast<std::uint64_t>(page) << 32) | version;
  }

  void drop(std::size_t page) {
    if (::userfault_madvise(mapping_.data() + page * kPage, kPage, MADV_DONTNEED) != 0) fail("MADV_DONTNEED");
  }
  void remove(std::size_t page) {
    check(page);
    if (::userfault_madvise(mapping_.data() + page * kPage, kPage, MADV_REMOVE) != 0) fail("MADV_REMOVE");
    owned_[page].removed = true;
  }
  void flush(unsigned thread) {
    if (!mapping_.flush()) return;
    for (std::size_t page = 2 * thread + 1; page < shape_.pages; page += 2 * kThreads)
      if (!owned_[page].removed) owned_[page].flushed = owned_[page].latest;
  }
  void prefetch(Random& random) const {
    const MappedRange ranges[] = {{random.below(shape_.pages) * kPage, (1 + random.below(32)) * kPage},
                                  {random.below(shape_.pages) * kPage, kPage}};
    mapping_.prefetch(ranges);
  }
  // Too much may be pinned already, which is an answer.
  void pin(std::size_t page) {
    if (!mapping_.pin(page * kPage, kPage)) return;
    // It may be on its way to the store just now; but it stays, or this never ends.
    while (!mapping_.resident(page * kPage)) std::this_thread::yield();
    if (!mapping_.unpin(page * kPage, kPage)) fail("page %zu cannot be unpinned", page);
  }

  void count(std::size_t page, unsigned thread, Random& random) {
    const std::size_t shared = page & ~std::size_t{1};
    const std::size_t word = thread * kQuarter + random.below(kQuarter);
    std::uint64_t& expected = counts_[shared * kWords + word];
    const std::uint64_t found = words(shared)[word];
    if (found != expected) fail("page %zu word %zu: %" PRIu64 " instead of %" PRIu64, shared, word, found, expected);
    if (random.chance(60)) words(shared)[word] = ++expected;
  }
  void write(std::size_t page, bool again) {
    check(page);
    if (!again) return;
    const std::uint64_t value = stamp(page, ++owned_[page].latest);
    for (std::size_t i = 0; i < kWords; ++i) words(page)[i] = value;
  }
  // After it the page is known to be in one version, the latest.
  void check(std::size_t page) {
    Owned& owned = owned_[page];
    if (!std::exchange(owned.removed, false)) {
      for (std::size_t i = 0; i < kWords; ++i)
        if (const std::uint64_t found = words(page)[i]; found != stamp(page, owned.latest))
          fail("page %zu word %zu: %#" PRIx64 " instead of version %u", page, i, found, owned.latest);
      return;
    }
    const std::uint32_t first = version_of(page, words(page)[0]);
    std::uint32_t before = first;
    for (std::size_t i = 0; i < kWords; ++i) {
      const std::uint32_t version = version_of(page, words(page)[i]);
      if (version > before || (version < before && before != first))
        fail("page %zu word %zu: %u after %u", page, i, version, before);
      before = version;
    }
    if (first > owned.latest || before < std::min(owned.flushed, first) || first < owned.flushed)
      fail("page %zu: version %u to %u, flushed %u, written %u", page, before, first, owned.flushed, owned.latest);
    // Made whole again, so that the next look has one version to expect.
    const std::uint64_t value = stamp(page, ++owned.latest);
    for (std::size_t i = 0; i < kWords; ++i) words(page)[i] = value;
  }
  static std::uint32_t version_of(std::size_t page, std::uint64_t word) {
    if (word != 0 && word >> 32 != page) fail("page %zu has a word of page %" PRIu64, page, word >> 32);
    return static_cast<std::uint32_t>(word);
  }
  void compare() const {
    for (std::size_t page = 0; page < shape_.pages; ++page) {
      std::uint64_t stored[kWords];
      std::memcpy(stored, store_->data() + page * kPage, kPage);
      for (std::size_t i = 0; i < kWords; ++i) {
        const std::uint64_t expected = is_owned(page) ? stamp(page, owned_[page].latest) : counts_[page * kWords + i];
        if (stored[i] != expected)
          fail("the store's page %zu word %zu: %#" PRIx64 " instead of %#" PRIx64, page, i, stored[i], expected);
      }
    }
  }

  const Shape shape_;
  const std::shared_ptr<FaultyStore> store_;
  Mapping mapping_;
  std::vector<std::uint64_t> counts_;
  std::vector<Owned> owned_;
};

void run_round(const Options& options, EngineKind engine, Random& random) {
  const Shape shape = random_shape(random, engine);
  auto pager = Pager::create(shape.pager);
  if (!pager) fail("%s", pager.error().message().c_str());
  {
    World worlds[] = {World(shape, *pager, random.next()), World(shape, *pager, random.next())};
    const double seconds = std::min(0.4, options.seconds / 4);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, seed = random.next()] {
        Random own(seed);
        while (!stop) worlds[own.below(2)].act(t, own);
      });
    }
    const Clock clock(seconds);
    std::mutex weather;
    std::condition_variable changes;
    while (clock.more()) {
      const bool fails = random.chance(30);
      for (World& world : worlds) world.fail_writes(fails);
      const std::uint64_t most = shape.pager.budget;
      if (const std::uint64_t now = pager->statistics().resident_bytes; most != 0 && now > most)
        fail("%" PRIu64 " bytes in memory, the budget is %" PRIu64, now, most);
      // By the clock: all threads may be waiting for a store that takes no writes.
      std::unique_lock lock(weather);
      (void)changes.wait_for(lock, std::chrono::milliseconds(20), [] { return false; });
    }
    for (World& world : worlds) world.fail_writes(false);
    stop = true;
    for (auto& thread : threads) thread.join();
    for (World& world : worlds) world.finish();
  }
  const Statistics end = pager->statistics();
  if (end.resident_bytes != 0 || end.dirty_bytes != 0 || end.pages_poisoned != 0)
    fail("at the end %" PRIu64 " bytes resident, %" PRIu64 " dirty, %" PRIu64 " pages poisoned", end.resident_bytes,
         end.dirty_bytes, end.pages_poisoned);
}

void on_alarm(int) {
  constexpr char kText[] = "FAILED: nothing happened for two minutes: a thread hangs\n";
  static_cast<void>(!::write(STDOUT_FILENO, kText, sizeof kText - 1));
  std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.seed = std::random_device{}();
  EngineKind engine = EngineKind::kUser;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--engine") == 0 && std::strcmp(argv[i + 1], "kernel") == 0) engine = EngineKind::kKernel;
    if (std::strcmp(argv[i], "--seconds") == 0) options.seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--tracking") == 0) only_tracking = argv[i + 1];
    if (std::strcmp(argv[i], "--seed") == 0) options.seed = std::strtoull(argv[i + 1], nullptr, 0);
  }
  if (const char* seconds = std::getenv("USERFAULT_STRESS_SECONDS"); seconds != nullptr && *seconds != '\0')
    options.seconds = std::atof(seconds);
  const auto descriptor = Descriptor::open({.engine = engine});
  if (!descriptor) skip("%s engine not available: %s", name_of(engine), descriptor.error().message().c_str());
  std::printf("pager soak on the %s engine, %g s, --seed %" PRIu64 "\n", name_of(engine), options.seconds,
              options.seed);
  std::fflush(stdout);
  ::signal(SIGALRM, on_alarm);
  Random random(options.seed);
  const Clock clock(options.seconds);
  std::uint64_t rounds = 0;
  for (; clock.more(); ++rounds) run_round(options, engine, random);
  std::printf("%" PRIu64 " rounds, every byte accounted for\n", rounds);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Which pages shall go when memory is needed: CLOCK with minor faults for reference bits, FIFO (LRU
// as far as faults tell), or random?
//
// A mapping of a file in the page cache, a budget of a quarter of it, and three walks over it:
//   zipf      accesses by Zipf's law (0.99) over shuffled pages
//   hot+scan  half of the accesses to a tenth of the pages, the others run over all of them in turn
//   uniform   where no policy can be better than another: what the policy itself costs
// For each: how many accesses had to read the store, and how long one took. Rounds of the three
// policies alternate; medians.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "support/interleaved.h"
#include "support/options.h"
#include "userfault/pager.h"

namespace {

using namespace userfault;

constexpr std::size_t kPage = 4096;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "eviction_bench: %s\n", what.c_str());
  std::exit(1);
}

struct Settings {
  std::size_t mib = 128;
  std::size_t accesses = 200000;
  int repetitions = 3;
  EngineKind engine = EngineKind::kKernel;
  std::string file = "/tmp/userfault_eviction_bench." + std::to_string(::getpid());
};

using Walk = std::vector<std::uint32_t>;

Walk zipf(std::size_t pages, std::size_t accesses) {
  std::vector<double> sums(pages);
  double sum = 0;
  for (std::size_t i = 0; i < pages; ++i) sums[i] = sum += 1 / std::pow(static_cast<double>(i + 1), 0.99);
  std::vector<std::uint32_t> place(pages);
  std::iota(place.begin(), place.end(), 0u);
  std::mt19937_64 random(1);
  std::ranges::shuffle(place, random);
  std::uniform_real_distribution<double> any(0, sum);
  Walk walk(accesses);
  for (auto& page : walk) {
    const auto rank = static_cast<std::size_t>(std::ranges::lower_bound(sums, any(random)) - sums.begin());
    page = place[std::min(rank, pages - 1)];
  }
  return walk;
}

Walk hot_and_scan(std::size_t pages, std::size_t accesses) {
  std::mt19937_64 random(2);
  Walk walk(accesses);
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < accesses; ++i)
    walk[i] = static_cast<std::uint32_t>(i % 2 == 0 ? random() % (pages / 10) * 10 : next++ % pages);
  return walk;
}

Walk uniform(std::size_t pages, std::size_t accesses) {
  std::mt19937_64 random(3);
  Walk walk(accesses);
  for (auto& page : walk) page = static_cast<std::uint32_t>(random() % pages);
  return walk;
}

struct Outcome {
  double ns = 0;      // an access
  double misses = 0;  // of all accesses, that read the store
  double minor = 0;   // that found a hidden page
};

Outcome run(const Settings& settings, Eviction eviction, const Walk& walk) {
  auto pager = Pager::create({.engine = settings.engine,
                              .prefetchers = 0,
                              .budget = settings.mib * (std::uint64_t{1} << 20) / 4,
                              .eviction = eviction});
  if (!pager) die(pager.error().message());
  auto store = open_file_store(settings.file);
  if (!store) die(store.error().text);
  auto mapping = pager->map(*store, {.detect_streams = false});
  if (!mapping) die(mapping.error().message());
  const auto pass = [&] {
    for (const std::uint32_t page : walk)
      (void)*const_cast<const volatile std::byte*>(mapping->data() + std::size_t{page} * kPage);
  };
  pass();  // until the budget is full and the policy has seen the walk
  const Statistics before = mapping->statistics();
  Outcome outcome;
  const auto count = static_cast<double>(walk.size());
  outcome.ns = bench::nanoseconds(pass) / count;
  const Statistics after = mapping->statistics();
  outcome.misses = static_cast<double>(after.pages_by_fault - before.pages_by_fault) / count;
  outcome.minor = static_cast<double>(after.revived - before.revived) / count;
  return outcome;
}

void compare(const Settings& settings, const char* name, const Walk& walk) {
  constexpr Eviction kPolicies[] = {Eviction::kClock, Eviction::kFifo, Eviction::kRandom};
  constexpr const char* kNames[] = {"clock", "fifo", "random"};
  std::vector<Outcome> outcomes[3];
  for (int repetition = 0; repetition < settings.repetitions; ++repetition)
    for (std::size_t i = 0; i < 3; ++i) outcomes[i].push_back(run(settings, kPolicies[i], walk));
  for (std::size_t i = 0; i < 3; ++i) {
    const auto middle = [&](double Outcome::*field) {
      std::vector<double> values;
      for (const Outcome& outcome : outcomes[i]) values.push_back(outcome.*field);
      return bench::median(std::move(values));
    };
    std::printf("%-9s %-7s %8.2f us an access, %5.1f %% read the store, %5.1f %% found a hidden page\n", name,
                kNames[i], middle(&Outcome::ns) / 1e3, middle(&Outcome::misses) * 100, middle(&Outcome::minor) * 100);
  }
}

void make_file(const Settings& settings) {
  const int fd = ::open(settings.file.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) die(settings.file + ": " + std::strerror(errno));
  std::vector<std::uint64_t> block((std::size_t{1} << 20) / 8);
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i < settings.mib; ++i) {
    for (auto& word : block) word = random() | 1;
    if (::write(fd, block.data(), block.size() * 8) != static_cast<ssize_t>(block.size() * 8))
      die("cannot write the file");
  }
  ::close(fd);
}

Settings parse(int argc, char** argv) {
  Settings settings;
  CLI::App app("Which pages should go?");
  app.add_option("--mib", settings.mib, "size of the file")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--accesses", settings.accesses)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--repetitions", settings.repetitions)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--engine", settings.engine)->transform(bench::engine_names());
  bench::parse_or_exit(app, argc, argv);
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  make_file(settings);
  const std::size_t pages = settings.mib * (std::size_t{1} << 20) / kPage;
  std::printf("%zu MiB, budget a quarter, %zu accesses, medians of %d, %s engine\n", settings.mib, settings.accesses,
              settings.repetitions, name_of(settings.engine));
  compare(settings, "zipf", zipf(pages, settings.accesses));
  compare(settings, "hot+scan", hot_and_scan(pages, settings.accesses));
  compare(settings, "uniform", uniform(pages, settings.accesses));
  ::unlink(settings.file.c_str());
  return 0;
}

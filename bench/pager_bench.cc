// SPDX-License-Identifier: Apache-2.0
// Is the pager faster than mmap of the same file, and than LLNL's UMap?
//
// For each pattern, budget and number of reader threads: the throughput of mmap, and that of the
// pager for each page size as a ratio to it, medians of several repetitions in turns. Every
// measurement is a process of its own.
//   warm     the file is in the page cache, and there is as much memory as data
//   cold     it is on disk only
//   25, 50   per cent of the data are all the memory there is: a memory cgroup of that size, and 12
//            MiB more for the program, holds the process and the page cache that it uses; the file is
//            on disk only. The pager gets the same, as its budget, and reads past the page cache.
// Patterns: sequential (every byte), random (one word of a random page), random read-write (the
// same, and every other access adds to the word; writing it all back to disk is in the time).
// Behind a ratio to mmap stands that to UMap, its time divided by the pager's, where it takes part. It
// gets the same budget, reads past the page cache where the pager does, and has as many threads to fill.
// UMap takes part when the bench was built with -DUSERFAULT_UMAP_PREFIX=PATH of an installed copy.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "support/interleaved.h"
#include "support/mapped_ways.h"
#include "support/memory_group.h"
#include "support/options.h"

namespace {

using namespace userfault;
using namespace userfault::bench;

constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kSlack = std::uint64_t{12} << 20;

struct Settings {
  std::size_t mib = 256;
  std::size_t bytes = 0;
  int repetitions = 3;
  std::size_t accesses = 0;  // 0: one for every fourth page, and 1024 where they go to the disk
  std::string directory = "/tmp";
  EngineKind engine = EngineKind::kKernel;
  FileAccess access = FileAccess::kAutomatic;
  std::size_t around = 1;
  unsigned prefetchers = 4;
  bool mapped = false;
  std::vector<std::string> patterns{"sequential", "random", "write"};
  std::vector<std::string> memory{"warm", "cold", "25", "50"};
  std::vector<unsigned> threads{1, 2, 8};
  std::vector<std::size_t> pages{4, 64, 2048};
};

Settings parse(int argc, char** argv) {
  Settings s;
  CLI::App app("Is the pager faster than mmap of the same file, and than LLNL's UMap?");
  const std::map<std::string, FileAccess> accesses{
      {"calls", FileAccess::kCalls}, {"pool", FileAccess::kPool}, {"ring", FileAccess::kRing}};
  app.add_option("--mib", s.mib, "size of the file")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--repetitions", s.repetitions)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--accesses", s.accesses, "random ones; 0: a quarter of the pages, 1024 from the disk");
  app.add_option("--directory", s.directory, "where the file is made")->check(CLI::ExistingDirectory);
  app.add_option("--engine", s.engine)->transform(engine_names());
  app.add_option("--access", s.access, "how the store reads")->transform(CLI::CheckedTransformer(accesses));
  app.add_option("--around", s.around, "pages filled with the one that was touched")->check(CLI::PositiveNumber);
  app.add_option("--prefetchers", s.prefetchers)->capture_default_str();
  app.add_flag("--mapped", s.mapped, "let the pager map the file where a thread walks through it");
  app.add_option("--patterns", s.patterns)->delimiter(',')->check(CLI::IsMember({"sequential", "random", "write"}));
  app.add_option("--memory", s.memory, "warm, cold, or per cent of the data")->delimiter(',');
  app.add_option("--threads", s.threads)->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--pages", s.pages, "KiB")->delimiter(',')->check(CLI::PositiveNumber);
  parse_or_exit(app, argc, argv);
  s.bytes = s.mib << 20;
  return s;
}

void make_file(const std::string& path, std::size_t bytes) {
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  std::vector<std::uint64_t> block((std::size_t{1} << 20) / 8);
  std::mt19937_64 random(1);
  for (std::size_t at = 0; at < bytes; at += block.size() * 8) {
    for (auto& word : block) word = random() | 1;
    if (::write(fd, block.data(), block.size() * 8) != static_cast<ssize_t>(block.size() * 8)) die_of("write " + path);
  }
  ::fsync(fd);
  ::close(fd);
}

// Into the page cache, or out of it.
void prepare_cache(const std::string& path, bool warm) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ::fsync(fd);
  if (warm) {
    std::vector<char> buffer(std::size_t{1} << 20);
    while (::read(fd, buffer.data(), buffer.size()) > 0) continue;
  } else {
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  }
  ::close(fd);
}

struct Cell {
  const Settings& settings;
  std::string file;
  std::string pattern;
  std::string memory;
  unsigned threads;
  const MemoryGroup& group;
  [[nodiscard]] bool warm() const { return memory == "warm"; }
  [[nodiscard]] bool limited() const { return !warm() && memory != "cold"; }
  [[nodiscard]] std::uint64_t budget() const {
    return limited() ? settings.bytes * std::stoull(memory) / 100 : std::uint64_t{0};
  }
  [[nodiscard]] std::size_t accesses() const {
    if (settings.accesses != 0) return settings.accesses;
    return warm() ? settings.bytes / kPage / 4 : 1024;
  }
};

std::uint64_t walk(const std::byte* data, std::size_t bytes) {
  const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(data);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes / 8; ++i) sum += words[i];
  return sum;
}

std::uint64_t jump(std::byte* data, std::size_t pages, std::size_t count, unsigned seed, bool write) {
  std::mt19937_64 random(seed);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto* const word = reinterpret_cast<std::uint64_t*>(data + random() % pages * kPage);
    const std::atomic_ref<std::uint64_t> at(*word);
    sum += at.load(std::memory_order_relaxed);
    if (write && i % 2 != 0) at.fetch_add(1, std::memory_order_relaxed);
  }
  return sum;
}

// The access itself, by all threads.
void run_pattern(const Cell& cell, std::byte* data) {
  const std::size_t pages = cell.settings.bytes / kPage;
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < cell.threads; ++t)
    threads.emplace_back([&, t] {
      const std::size_t from = pages * t / cell.threads * kPage;
      const std::size_t to = pages * (t + 1) / cell.threads * kPage;
      sum += cell.pattern == "sequential"
                 ? walk(data + from, to - from)
                 : jump(data, pages, cell.accesses() / cell.threads, t + 1, cell.pattern == "write");
    });
  for (std::thread& thread : threads) thread.join();
}

// Nanoseconds of one run in a process of its own; 0 where that is UMap and it crashed.
template <typename Way>
double measure(const Cell& cell, const MappedSetting& setting) {
  prepare_cache(cell.file, cell.warm());
  if (cell.limited() && !cell.group.set_limit(cell.budget() + kSlack)) die_of("cannot limit the memory cgroup");
  int ends[2];
  if (::pipe(ends) != 0) die_of("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    if (cell.limited() && !cell.group.enter()) die_of("cannot enter the memory cgroup");
    Way way(setting);
    const double ns = nanoseconds([&] {
      run_pattern(cell, way.data());
      if (setting.writable) way.finish();
    });
    if (::write(ends[1], &ns, sizeof ns) != sizeof ns) std::_Exit(1);
    std::_Exit(0);
  }
  ::close(ends[1]);
  double ns = 0;
  const bool good = ::read(ends[0], &ns, sizeof ns) == sizeof ns;
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  if (!good && !std::is_same_v<Way, UmapWay>) die_of("a measurement failed");
  return good ? ns : 0;
}

MappedSetting setting_of(const Cell& cell, std::size_t page_size) {
  return {.file = cell.file,
          .bytes = cell.settings.bytes,
          .writable = cell.pattern == "write",
          .page_size = page_size,
          .around = cell.settings.around,
          .budget = cell.budget(),
          .threads = cell.threads,
          .prefetchers = cell.settings.prefetchers,
          .engine = cell.settings.engine,
          .direct = cell.limited(),
          .mapped = cell.settings.mapped && cell.pattern != "write",
          .access = cell.settings.access};
}

std::string speed(const Cell& cell, double ns) {
  char text[64];
  if (cell.pattern == "sequential")
    std::snprintf(text, sizeof text, "%.0f MiB/s", static_cast<double>(cell.settings.bytes) / (1 << 20) * 1e9 / ns);
  else std::snprintf(text, sizeof text, "%.2f us", ns / 1e3 / static_cast<double>(cell.accesses()));
  return text;
}

// mmap and every page size of the pager (and of UMap) in turns; one row.
void row(const Cell& cell) {
  const std::size_t sizes = cell.settings.pages.size();
  std::vector<double> base;
  std::vector<std::vector<double>> pager(sizes);
  std::vector<std::vector<double>> umap(sizes);
  for (int i = 0; i < cell.settings.repetitions; ++i) {
    base.push_back(measure<MmapWay>(cell, setting_of(cell, kPage)));
    for (std::size_t k = 0; k < sizes; ++k) {
      const auto setting = setting_of(cell, cell.settings.pages[k] << 10);
      pager[k].push_back(measure<PagerWay>(cell, setting));
      if (kWithUmap) umap[k].push_back(measure<UmapWay>(cell, setting));
    }
  }
  const double mmap_ns = median(base);
  std::printf("| %s | %s | %u | %s |", cell.pattern.c_str(), cell.memory.c_str(), cell.threads,
              speed(cell, mmap_ns).c_str());
  for (std::size_t k = 0; k < sizes; ++k) {
    const double ns = median(pager[k]);
    std::printf(" %s, %.2f", speed(cell, ns).c_str(), mmap_ns / ns);
    if (std::ranges::find(umap[k], 0.0) != umap[k].end()) std::printf(" (UMap crashed)");
    else if (!umap[k].empty()) std::printf(" (UMap: %.2f)", median(umap[k]) / ns);
    std::printf(" |");
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  const MemoryGroup group;
  const std::string file = settings.directory + "/userfault_pager_bench." + std::to_string(::getpid());
  make_file(file, settings.bytes);
  std::printf("%zu MiB, engine %s, medians of %d. Ratios are mmap's time divided by the pager's.\n",
              settings.bytes >> 20, name_of(settings.engine), settings.repetitions);
  if (!kWithUmap)
    std::printf(
        "UMap is missing: configure with -DUSERFAULT_UMAP_PREFIX=PATH of an installed copy to compare with it.\n");
  if (!group.valid())
    std::printf("no memory cgroup can be made here: the budgets below all of the data are left out\n");
  std::printf("| pattern | memory | threads | mmap |");
  for (const std::size_t page : settings.pages) std::printf(" pager, %zu KiB |", page);
  std::printf("\n|---|---|---:|---:|");
  for (std::size_t i = 0; i < settings.pages.size(); ++i) std::printf("---:|");
  std::printf("\n");
  for (const std::string& pattern : settings.patterns)
    for (const std::string& memory : settings.memory)
      for (const unsigned threads : settings.threads) {
        const Cell cell{settings, file, pattern, memory, threads, group};
        if (!cell.limited() || group.valid()) row(cell);
      }
  ::unlink(file.c_str());
  return 0;
}

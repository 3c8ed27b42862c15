// SPDX-License-Identifier: Apache-2.0
// Which way of reading a file should be a file store's default: calls, a pool of threads, io_uring?
//
// Reads a file through the store in each way, `depth` requests at a time: single pages in a random
// order, and 256 KiB one after the other; from the page cache, from the disk, and past the page
// cache (O_DIRECT, from the disk). Medians of several repetitions, in turns.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "support/interleaved.h"
#include "support/options.h"
#include "userfault/store.h"

namespace {

using namespace userfault;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "store_bench: %s\n", what.c_str());
  std::exit(1);
}

struct Load {
  const char* name;
  std::size_t size;   // of one request
  std::size_t depth;  // requests in one batch
  std::size_t count;  // of requests
  bool warm;
  bool direct;
  bool random;
};

void set_cache(const std::string& path, bool warm) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::vector<char> buffer(std::size_t{1} << 20);
  if (warm) {
    while (::read(fd, buffer.data(), buffer.size()) > 0) continue;
  } else {
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  }
  ::close(fd);
}

// Nanoseconds for all requests of a load.
double run(const std::string& path, std::size_t bytes, const Load& load, FileAccess access, std::byte* memory) {
  set_cache(path, load.warm);
  // Outlives the store, whose threads may still be telling it when the last answer is in.
  std::atomic<std::size_t> left{0};
  const auto store = open_file_store(path, {.direct = load.direct, .access = access});
  if (!store) die(store.error().text);
  std::mt19937_64 random(3);
  std::vector<StoreRequest> batch(load.depth);
  std::size_t next = 0;
  return bench::nanoseconds([&] {
    for (std::size_t done = 0; done < load.count; done += load.depth) {
      left = load.depth;
      for (std::size_t i = 0; i < load.depth; ++i) {
        const std::size_t place = load.random ? random() % (bytes / load.size) : next++ % (bytes / load.size);
        batch[i] = {.offset = place * load.size, .data = memory + i * load.size, .length = load.size};
        batch[i].context = &left;
        batch[i].done = [](StoreRequest& request) {
          if (request.code != 0) die(std::strerror(request.code));
          auto& count = *static_cast<std::atomic<std::size_t>*>(request.context);
          count.fetch_sub(1);
          count.notify_all();
        };
      }
      (*store)->read(batch);
      for (std::size_t seen = left; seen != 0; seen = left) left.wait(seen);
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t mib = 256;
  int repetitions = 5;
  std::string directory = "/tmp";
  CLI::App app("What the ways to read a file cost.");
  app.add_option("--mib", mib, "size of the file")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--repetitions", repetitions)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--directory", directory, "where the file is made")->check(CLI::ExistingDirectory);
  userfault::bench::parse_or_exit(app, argc, argv);
  const std::size_t bytes = mib << 20;
  const std::string path = directory + "/userfault_store_bench." + std::to_string(::getpid());
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  std::vector<char> block(std::size_t{1} << 20, 'x');
  for (std::size_t at = 0; at < bytes; at += block.size())
    if (::write(fd, block.data(), block.size()) < 0) die("cannot write " + path);
  ::fsync(fd);
  ::close(fd);
  constexpr std::size_t kRoom = std::size_t{16} << 20;
  auto* const memory = static_cast<std::byte*>(
      ::mmap(nullptr, kRoom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));

  constexpr std::size_t kSmall = 4096;
  constexpr std::size_t kLarge = std::size_t{256} << 10;
  const std::vector<Load> loads{
      {"4 KiB random, warm, 1 at a time", kSmall, 1, 20000, true, false, true},
      {"4 KiB random, warm, 32 at a time", kSmall, 32, 20000, true, false, true},
      {"4 KiB random, disk, 1 at a time", kSmall, 1, 1000, false, false, true},
      {"4 KiB random, disk, 32 at a time", kSmall, 32, 4000, false, false, true},
      {"4 KiB random, direct, 1 at a time", kSmall, 1, 1000, false, true, true},
      {"4 KiB random, direct, 32 at a time", kSmall, 32, 4000, false, true, true},
      {"256 KiB in a row, warm, 1 at a time", kLarge, 1, bytes / kLarge, true, false, false},
      {"256 KiB in a row, disk, 1 at a time", kLarge, 1, bytes / kLarge, false, false, false},
      {"256 KiB in a row, disk, 8 at a time", kLarge, 8, bytes / kLarge, false, false, false},
      {"256 KiB in a row, direct, 8 at a time", kLarge, 8, bytes / kLarge, false, true, false},
  };
  const auto ring = open_file_store(path, {.access = FileAccess::kRing});
  std::printf("io_uring here means: %s\n", ring ? (*ring)->description().c_str() : ring.error().text.c_str());
  std::printf("| load | calls | pool | io_uring |\n|---|---:|---:|---:|\n");
  for (const Load& load : loads) {
    std::vector<std::vector<double>> times(3);
    for (int i = 0; i < repetitions; ++i)
      for (std::size_t way = 0; way < times.size(); ++way) {
        constexpr FileAccess kWays[] = {FileAccess::kCalls, FileAccess::kPool, FileAccess::kRing};
        times[way].push_back(run(path, bytes, load, kWays[way], memory));
      }
    std::printf("| %s |", load.name);
    for (const auto& way : times) std::printf(" %.1f us |", bench::median(way) / 1e3 / static_cast<double>(load.count));
    std::printf("\n");
    std::fflush(stdout);
  }
  ::unlink(path.c_str());
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// How much faster is a lazy restore by the pager than the simplest correct loop of the manual page?
//
// The loop: one thread reads one message with read(2), reads the page with pread(2), and fills it
// with UFFDIO_COPY, 4 KiB at a time. Both restore the same file, whose pages are in the page cache,
// in turns within one run:
//   sequential  one pass over all of it; the ratio of the throughputs. Aim: at least 3.
//   random      loads in a random order; the ratio of the median fault latencies. Aim: at most 1.
// And against a plain read of the file into fresh memory, 1 MiB a call, which is what a restore that is not
// lazy does:
//   prefetched  everything is asked for ahead and waited for, copied and mapped; the ratio of the
//               throughputs to the read's. Aim: at least 0.8.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/interleaved.h"
#include "support/options.h"
#include "userfault/descriptor.h"
#include "userfault/pager.h"
#include "userfault/userfault.h"

namespace {

using namespace userfault;
using bench::median;
using bench::nanoseconds;

constexpr std::size_t kPage = 4096;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "restore_bench: %s\n", what.c_str());
  std::exit(1);
}

struct Settings {
  std::size_t bytes = std::size_t{1024} << 20;
  int repetitions = 5;
  std::string only;
  std::string file = "/tmp/userfault_restore_bench." + std::to_string(::getpid());
};

// Every page differs from every other and none is zero.
void make_file(const Settings& settings) {
  const int fd = ::open(settings.file.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) die(settings.file + ": " + std::strerror(errno));
  std::vector<std::uint64_t> block((std::size_t{1} << 20) / 8);
  std::mt19937_64 random(1);
  for (std::size_t at = 0; at < settings.bytes; at += block.size() * 8) {
    for (auto& word : block) word = random() | 1;
    if (::write(fd, block.data(), block.size() * 8) != static_cast<ssize_t>(block.size() * 8))
      die("cannot write the file");
  }
  ::close(fd);
}

// The manual page's loop, as plain as it can be written.
class SimpleLoop {
 public:
  explicit SimpleLoop(const Settings& settings)
      : bytes_(settings.bytes), file_(::open(settings.file.c_str(), O_RDONLY | O_CLOEXEC)) {
    fd_ = ::userfault_open(USERFAULT_ENGINE_KERNEL, O_CLOEXEC);
    if (fd_ < 0 || file_ < 0) die("cannot open the kernel's userfaultfd or the file");
    memory_ = static_cast<std::byte*>(
        ::mmap(nullptr, bytes_ + kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) die("mmap");
    if (::userfault_ioctl_api(fd_, 0, nullptr, nullptr) != 0 ||
        ::userfault_ioctl_register(fd_, memory_, bytes_ + kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) != 0)
      die("cannot register");
    thread_ = std::thread([this] { serve(); });
  }
  ~SimpleLoop() {
    // The page behind the image ends the loop.
    (void)*const_cast<const volatile std::byte*>(memory_ + bytes_);
    thread_.join();
    ::munmap(memory_, bytes_ + kPage);
    ::userfault_close(fd_);
    ::close(file_);
  }
  [[nodiscard]] const std::byte* data() const { return memory_; }

 private:
  void serve() {
    alignas(kPage) static std::byte page[kPage];
    for (;;) {
      userfault_msg message;
      if (::userfault_read(fd_, &message, sizeof message) != sizeof message) continue;
      auto* const at = reinterpret_cast<std::byte*>(message.arg.pagefault.address & ~(kPage - 1));
      const auto offset = static_cast<std::size_t>(at - memory_);
      const bool last = offset >= bytes_;
      if (!last && ::pread(file_, page, kPage, static_cast<off_t>(offset)) != static_cast<ssize_t>(kPage)) die("pread");
      if (::userfault_ioctl_copy(fd_, at, page, kPage, 0, nullptr) != 0) die("copy");
      if (last) return;
    }
  }
  std::size_t bytes_;
  int file_;
  int fd_ = -1;
  std::byte* memory_ = nullptr;
  std::thread thread_;
};

class PagerWay {
 public:
  explicit PagerWay(const Settings& settings, bool mapped = false) {
    auto pager = Pager::create({.engine = EngineKind::kKernel});
    if (!pager) die(pager.error().message());
    auto store = open_file_store(settings.file, {.mapped = mapped});
    if (!store) die(store.error().text);
    auto mapping = pager->map(*store);
    if (!mapping) die(mapping.error().message());
    pager_ = std::make_unique<Pager>(std::move(*pager));
    mapping_ = std::make_unique<Mapping>(std::move(*mapping));
  }
  [[nodiscard]] const std::byte* data() const { return mapping_->data(); }
  void fetch_all() const {
    mapping_->prefetch(0, mapping_->size());
    mapping_->wait_for_prefetch();
  }

 private:
  std::unique_ptr<Pager> pager_;
  std::unique_ptr<Mapping> mapping_;
};

void load(const std::byte* at) { (void)*const_cast<const volatile std::byte*>(at); }

template <typename Way>
double sequential(const Settings& settings) {
  const Way way(settings);
  return nanoseconds([&] {
    for (std::size_t at = 0; at < settings.bytes; at += kPage) load(way.data() + at);
  });
}

template <typename Way>
double random_median(const Settings& settings, const std::vector<std::uint32_t>& order) {
  const Way way(settings);
  std::vector<double> times;
  times.reserve(order.size());
  for (const std::uint32_t page : order)
    times.push_back(nanoseconds([&] { load(way.data() + std::size_t{page} * kPage); }));
  return median(std::move(times));
}

Settings parse(int argc, char** argv) {
  Settings settings;
  std::size_t mib = settings.bytes >> 20;
  CLI::App app("Lazy restore against the simplest correct loop.");
  app.add_option("--mib", mib, "size of the image")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--repetitions", settings.repetitions)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--file", settings.file, "the image, which is made and removed");
  app.add_option("--only", settings.only)->check(CLI::IsMember({"sequential", "random", "prefetched"}));
  bench::parse_or_exit(app, argc, argv);
  settings.bytes = mib << 20;
  return settings;
}

void compare_sequential(const Settings& settings, const bench::Plan& plan) {
  const double gib = static_cast<double>(settings.bytes) / (1 << 30);
  const auto pass = bench::compare(
      plan, [&] { return sequential<PagerWay>(settings); }, [&] { return sequential<SimpleLoop>(settings); });
  std::printf(
      "sequential, %.2f GiB, medians of %d: pager %.2f GiB/s, simple loop %.2f GiB/s; ratio %.2f (aim: 3 or more)\n",
      gib, plan.repetitions, gib * 1e9 / pass.first_ns, gib * 1e9 / pass.second_ns, pass.ratio);
}

void compare_random(const Settings& settings, const bench::Plan& plan) {
  std::vector<std::uint32_t> order(settings.bytes / kPage);
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::shuffle(order, std::mt19937_64(7));
  order.resize(std::min<std::size_t>(order.size(), 65536));
  const auto fault = bench::compare(
      plan, [&] { return random_median<PagerWay>(settings, order); },
      [&] { return random_median<SimpleLoop>(settings, order); });
  std::printf(
      "random, median fault, medians of %d: pager %.2f us, simple loop %.2f us; pager / loop %.3f (aim: 1 or less)\n",
      plan.repetitions, fault.first_ns / 1e3, fault.second_ns / 1e3, 1 / fault.ratio);
}

double prefetched(const Settings& settings, bool mapped) {
  const PagerWay way(settings, mapped);
  return nanoseconds([&] { way.fetch_all(); });
}

double plain_read(const Settings& settings) {
  const int file = ::open(settings.file.c_str(), O_RDONLY | O_CLOEXEC);
  void* const memory = ::mmap(nullptr, settings.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (file < 0 || memory == MAP_FAILED) die("cannot open the file, or no memory for it");
  const double ns = nanoseconds([&] {
    for (std::size_t at = 0; at < settings.bytes; at += std::size_t{1} << 20)
      if (::pread(file, static_cast<std::byte*>(memory) + at, std::size_t{1} << 20, static_cast<off_t>(at)) <= 0)
        die("pread");
  });
  ::munmap(memory, settings.bytes);
  ::close(file);
  return ns;
}

void compare_prefetched(const Settings& settings, const bench::Plan& plan) {
  const double gib = static_cast<double>(settings.bytes) / (1 << 30);
  for (const bool mapped : {false, true}) {
    const auto all = bench::compare(
        plan, [&] { return prefetched(settings, mapped); }, [&] { return plain_read(settings); });
    std::printf(
        "prefetched, %s, %.2f GiB, medians of %d: pager %.2f GiB/s, plain read %.2f GiB/s; ratio %.2f (aim: 0.8 or "
        "more)\n",
        mapped ? "mapped" : "copied", gib, plan.repetitions, gib * 1e9 / all.first_ns, gib * 1e9 / all.second_ns,
        all.ratio);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = parse(argc, argv);
  make_file(settings);
  const bench::Plan plan{.repetitions = settings.repetitions, .warm_up = 1, .units = 1};
  const auto wanted = [&](const char* question) { return settings.only.empty() || settings.only == question; };
  if (wanted("sequential")) compare_sequential(settings, plan);
  if (wanted("random")) compare_random(settings, plan);
  if (wanted("prefetched")) compare_prefetched(settings, plan);
  ::unlink(settings.file.c_str());
  return 0;
}

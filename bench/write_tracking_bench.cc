// SPDX-License-Identifier: Apache-2.0
// What does it cost to know which pages were written: by a fault each (WriteTracking::kFaults), or by
// looking (kScan)?
//
// A writable mapping of a memory store, all of it in memory. One word of every page is written, for the
// first time since it was filled or flushed; then flush() finds the pages and writes them; and once more
// with one page in sixteen. Without a budget, and random writes with a budget of a quarter of the data.
// Ratios of kScan to kFaults, medians of several repetitions in turns.
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "support/interleaved.h"
#include "support/options.h"
#include "userfault/pager.h"

namespace {

using namespace userfault;
using namespace userfault::bench;

constexpr std::size_t kPage = 4096;

struct Settings {
  std::size_t mib = 64;
  int repetitions = 9;
  EngineKind engine = EngineKind::kKernel;
};

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "write_tracking_bench: %s\n", what.c_str());
  std::exit(1);
}

class Side {
 public:
  Side(const Settings& settings, WriteTracking tracking, std::uint64_t budget)
      : bytes_(settings.mib << 20, std::byte{1}),
        pager_(make_pager({.engine = settings.engine, .budget = budget, .write_tracking = tracking})),
        mapping_(map(pager_, bytes_)) {
    if (pager_.write_tracking() != tracking) give_up("this kernel cannot track writes by scanning");
  }
  void bring() const {
    mapping_.prefetch(0, mapping_.size());
    mapping_.wait_for_prefetch();
    std::uint64_t sum = 0;
    for (std::size_t page = 0; page < pages(); ++page) sum += word(page);
    if (sum == 0) give_up("the data is not there");
  }
  [[nodiscard]] double write_every(std::size_t step) const {
    return nanoseconds([&] {
      for (std::size_t page = 0; page < pages(); page += step) word(page) = word(page) + 1;
    });
  }
  [[nodiscard]] double flush() const {
    return nanoseconds([&] {
      if (!mapping_.flush()) give_up("flush failed");
    });
  }
  [[nodiscard]] double write_at_random() const {
    std::mt19937_64 random(7);
    return nanoseconds([&] {
      for (std::size_t i = 0; i < pages(); ++i) {
        const std::size_t page = random() % pages();
        word(page) = word(page) + 1;
      }
    });
  }
  [[nodiscard]] std::size_t pages() const { return bytes_.size() / kPage; }

 private:
  static Pager make_pager(const PagerOptions& options) {
    auto pager = Pager::create(options);
    if (!pager) give_up(pager.error().message());
    return std::move(*pager);
  }
  static Mapping map(const Pager& pager, std::span<std::byte> bytes) {
    auto mapping = pager.map(make_writable_memory_store(bytes), {.writable = true});
    if (!mapping) give_up(mapping.error().message());
    return std::move(*mapping);
  }
  [[nodiscard]] volatile std::uint64_t& word(std::size_t page) const {
    return *reinterpret_cast<volatile std::uint64_t*>(mapping_.data() + page * kPage);
  }

  std::vector<std::byte> bytes_;
  Pager pager_;
  Mapping mapping_;
};

template <typename Measure>
void row(const char* question, const Settings& settings, double units, const Side& faults, const Side& scan,
         Measure measure) {
  const Comparison result = compare(
      {.repetitions = settings.repetitions, .warm_up = 1, .units = units}, [&] { return measure(faults); },
      [&] { return measure(scan); });
  std::printf("| %s | %.0f ns | %.0f ns | %.2f |\n", question, result.first_ns, result.second_ns, result.ratio);
  std::fflush(stdout);
}

void in_memory(const Settings& settings) {
  const Side faults(settings, WriteTracking::kFaults, 0);
  const Side scan(settings, WriteTracking::kScan, 0);
  const auto pages = static_cast<double>(faults.pages());
  // What was flushed is brought into the page table again outside of the clock.
  const auto clean = [](const Side& side) {
    static_cast<void>(side.flush());
    side.bring();
  };
  clean(faults), clean(scan);
  row("first write of a page, each", settings, pages, faults, scan, [&](const Side& side) {
    const double ns = side.write_every(1);
    clean(side);
    return ns;
  });
  row("flush when all were written, each page", settings, pages, faults, scan, [&](const Side& side) {
    static_cast<void>(side.write_every(1));
    const double ns = side.flush();
    side.bring();
    return ns;
  });
  row("flush when one in sixteen was, each written page", settings, pages / 16, faults, scan, [&](const Side& side) {
    static_cast<void>(side.write_every(16));
    const double ns = side.flush();
    side.bring();
    return ns;
  });
  row("write one in sixteen, flush, and touch all again, each page", settings, pages, faults, scan,
      [&](const Side& side) {
        const double ns = side.write_every(16) + side.flush();
        return ns + nanoseconds([&] { side.bring(); });
      });
}

void under_budget(const Settings& settings) {
  const std::uint64_t budget = (settings.mib << 20) / 4;
  const Side faults(settings, WriteTracking::kFaults, budget);
  const Side scan(settings, WriteTracking::kScan, budget);
  row("random write under a budget of a quarter, each", settings, static_cast<double>(faults.pages()), faults, scan,
      [](const Side& side) { return side.write_at_random(); });
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("What does it cost to know which pages were written?");
  app.add_option("--mib", settings.mib, "size of the data")->check(CLI::Range(1, 1 << 16))->capture_default_str();
  app.add_option("--repetitions", settings.repetitions)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--engine", settings.engine)->transform(engine_names());
  parse_or_exit(app, argc, argv);
  std::printf("%zu MiB, engine %s, medians of %d\n", settings.mib, name_of(settings.engine), settings.repetitions);
  std::printf("| question | by faults | by scanning | ratio |\n|---|---:|---:|---:|\n");
  in_memory(settings);
  under_budget(settings);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// userfault restore: the pager over an image, with threads that read it.
#include <fmt/core.h>

#include <cstring>
#include <optional>
#include <string>

#include "tools/command.h"
#include "tools/options.h"
#include "tools/restore/access.h"
#include "tools/restore/guard.h"
#include "tools/restore/image.h"
#include "tools/restore/report.h"

namespace userfault::tools {
namespace {

using namespace restore;

constexpr std::size_t kMostErrorsShown = 8;

int fail(const std::string& what) {
  fmt::print(stderr, "userfault restore: {}\n", what);
  return 1;
}

struct Options {
  ImageOptions image;
  EngineKind engine = EngineKind::kAutomatic;
  unsigned workers = 2;
  std::size_t around = 1;
  bool prefetch = false;
  std::size_t page_size = 4096;
  AccessPattern access = AccessPattern::kSequential;
  unsigned readers = 1;
  std::uint64_t seed = 1;
  bool verify = false;
  bool relocate = false;
  std::uint64_t budget = 0;
  bool histogram = false;
  bool quiet = false;
  std::string json;
};

double microseconds(Clock::duration duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

class Run {
 public:
  Run(const Options& options, Image image, Pager pager, Placed placed, Clock::time_point start)
      : options_(options),
        image_(std::move(image)),
        pager_(std::move(pager)),
        placed_(std::move(placed)),
        start_(start) {}

  int go() {
    Report report = describe();
    {
      const Progress progress(pager_, report.bytes);
      access(report);
    }
    std::string trouble = flush();
    const bool flushed = trouble.empty();
    if (flushed && options_.verify) trouble = compare(report);
    report.statistics = pager_.statistics();
    if (!options_.quiet) print(report);
    if (options_.histogram) print_histogram(report.latency);
    show_errors();
    if (!trouble.empty()) fmt::print(stderr, "userfault restore: {}: {}\n", image_.name, trouble);
    const bool written = options_.json.empty() || write_json(report, options_.json);
    const bool good = report.unreadable == 0 && (!options_.verify || report.verified);
    return good && written && flushed ? 0 : 1;
  }

 private:
  Report describe() const {
    return {.image = image_.name,
            .core = image_.core,
            .packed = image_.source.kind == StoreKind::kPacked,
            .store = image_.parts.front().store->description(),
            .segments = image_.parts.size(),
            .relocated = placed_.relocated,
            .engine = name_of(pager_.engine()),
            .workers = options_.workers,
            .page_size = options_.page_size,
            .huge = options_.page_size > 4096 && !image_.core && !placed_.without_huge && !options_.image.writable &&
                    options_.budget == 0,
            .bytes = image_.bytes(),
            .verify_asked = options_.verify,
            .budget = options_.budget,
            .writable = options_.image.writable};
  }

  void access(Report& report) {
    const auto begin = Clock::now();
    if (options_.prefetch)
      for (const MappedPart& part : placed_.parts) part.mapping.prefetch(0, part.mapping.size());
    if (options_.access != AccessPattern::kNone) {
      const AccessResult result = touch_all(placed_.parts, {.pattern = options_.access,
                                                            .readers = options_.readers,
                                                            .seed = options_.seed,
                                                            .write = options_.image.writable});
      report.first_byte_us = microseconds(result.first_byte - start_);
      report.latency = result.latency;
      report.unreadable = result.unreadable;
      report.written = result.written;
    }
    if (options_.prefetch)
      for (const MappedPart& part : placed_.parts) part.mapping.wait_for_prefetch();
    if (options_.prefetch || options_.access != AccessPattern::kNone)
      report.seconds = microseconds(Clock::now() - begin) / 1e6;
  }

  // Everything that was written to the store; what went wrong, or nothing.
  std::string flush() const {
    if (!options_.image.writable) return {};
    for (const MappedPart& part : placed_.parts)
      if (const auto flushed = part.mapping.flush(); !flushed)
        return "what was written did not reach the file: " + flushed.error().message();
    return {};
  }

  // What differs, or nothing.
  std::string compare(Report& report) {
    const auto begin = Clock::now();
    const VerifyResult result = verify(image_.source, placed_.parts);
    if (report.first_byte_us == 0) report.first_byte_us = microseconds(result.first_byte - start_);
    if (report.seconds == 0) report.seconds = microseconds(Clock::now() - begin) / 1e6;
    report.verified_bytes = result.equal_bytes;
    report.verified = result.trouble.empty() && result.equal_bytes == report.bytes;
    report.unreadable = std::max(report.unreadable, result.unreadable);
    if (result.trouble.empty() && !report.verified)
      return fmt::format("{} of {} bytes verified", result.equal_bytes, report.bytes);
    return result.trouble;
  }

  void show_errors() const {
    const auto errors = pager_.errors();
    for (std::size_t i = 0; i < std::min(errors.size(), kMostErrorsShown); ++i)
      fmt::print(stderr, "userfault restore: {}: {}\n", image_.name, text_of(errors[i]));
    if (errors.size() > kMostErrorsShown)
      fmt::print(stderr, "userfault restore: {}: and {} pages more\n", image_.name, errors.size() - kMostErrorsShown);
  }

  std::string text_of(const PageError& error) const {
    std::uint64_t offset = error.offset;
    for (const MappedPart& part : placed_.parts) {
      const auto start = PageRange::of(part.mapping.data(), part.mapping.size()).start;
      if (error.address - start < part.mapping.size()) offset = part.part.file_offset + error.offset;
    }
    const char* const why = error.code == ENODATA ? "the file has become shorter while it was read"
                            : error.code == EBADMSG
                                ? "the packed image is damaged there (userfault unpack --check tells where)"
                                : std::strerror(error.code);
    if (error.write) return fmt::format("the page at offset {} could not be written: {}", offset, why);
    return fmt::format("the page at offset {} could not be read: {}; it is poisoned (reading it is SIGBUS)", offset,
                       why);
  }

  const Options& options_;
  const Image image_;
  const Pager pager_;
  const Placed placed_;
  const Clock::time_point start_;
};

class Restore final : public Command {
 public:
  const char* name() const override { return "restore"; }
  const char* summary() const override { return "bring a memory image back, page by page as it is touched"; }

  void add_options(OptionSet& options) override {
    options
        .add("IMAGE", o_.image.name,
             "a flat file, an ELF core or a packed image; or file:, core:, zstd: with a path, zero: with a size")
        .required();
    offset_ =
        options.add("--offset", o_.image.offset, "restore from this byte of the file, as a flat image").in_bytes();
    length_ = options.add("--length", o_.image.length, "so many bytes").in_bytes();
    options.add_choice("--engine", o_.engine,
                       {{"auto", EngineKind::kAutomatic}, {"kernel", EngineKind::kKernel}, {"user", EngineKind::kUser}},
                       "which engine");
    options.add("--workers", o_.workers, "threads that answer faults").between(1, 64).show_default();
    options.add("--around", o_.around, "fill so many pages around a fault, a power of two")
        .between(1, 512)
        .show_default();
    options.add_flag("--prefetch", o_.prefetch, "bring in everything in the background too; faults go first");
    options.add_choice("--page-size", o_.page_size, {{"4k", 4096}, {"2m", std::size_t{2} << 20}}, "of the memory");
    options.add_choice("--access", o_.access,
                       {{"sequential", AccessPattern::kSequential},
                        {"random", AccessPattern::kRandom},
                        {"none", AccessPattern::kNone}},
                       "how the image is read");
    options.add("--readers", o_.readers, "threads that read it").between(1, 256).show_default();
    options.add("--seed", o_.seed, "of the random order").show_default();
    options.add_flag("--verify", o_.verify, "compare every byte with the file");
    options.add("--budget", o_.budget, "take no more memory than this: pages are evicted and come back").in_bytes();
    options.add_flag("--writable", o_.image.writable,
                     "invert the first byte of every page that is touched, and write that to the file");
    options.add_flag("--mapped", o_.image.mapped,
                     "map the file itself where a thread walks through it; for a file that nobody changes");
    options.add_flag("--relocate", o_.relocate, "put a core's segments anywhere instead of where they were");
    options.add("--json", o_.json, "write the report to this file; - is standard output");
    options.add_flag("--histogram", o_.histogram, "print the latency of faults as a histogram");
    options.add_flag("--quiet", o_.quiet, "do not print the report");
  }

  int run() override {
    const auto start = Clock::now();
    o_.image.flat = offset_->count() + length_->count() != 0;
    if (o_.around == 0 || (o_.around & (o_.around - 1)) != 0) return fail("--around must be a power of two"), 2;
    auto image = open_image(o_.image);
    if (!image) return fail(image.error());
    // Before the pager: the user engine hands a SIGBUS on to the handler that was there before it.
    const BusGuard guard;
    const bool all = o_.prefetch || o_.verify || o_.access != AccessPattern::kNone;
    if (const auto fits = all ? check_memory(*image, o_.budget) : Outcome<void>{}; !fits) return fail(fits.error());
    auto pager = Pager::create({.engine = o_.engine, .workers = o_.workers, .budget = o_.budget});
    if (!pager)
      return fail(fmt::format("the {} engine is not available: {}", name_of(o_.engine), pager.error().message()));
    const MapOptions map{.page_size = o_.page_size,
                         .huge = o_.page_size > 4096 && !image->core && !o_.image.writable && o_.budget == 0,
                         .around = o_.around,
                         .writable = o_.image.writable};
    auto placed = place(*pager, *image, {.relocate = o_.relocate, .map = map});
    if (!placed) return fail(fmt::format("{}: {}", image->name, placed.error()));
    return Run(o_, std::move(*image), std::move(*pager), std::move(*placed), start).go();
  }

 private:
  Options o_;
  std::optional<Option> offset_;
  std::optional<Option> length_;
};

}  // namespace

std::unique_ptr<Command> make_restore_command() { return std::make_unique<Restore>(); }

}  // namespace userfault::tools

// SPDX-License-Identifier: Apache-2.0
// userfault pack, userfault unpack: memory images in compressed frames, and back.
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>

#include "tools/command.h"
#include "tools/options.h"
#include "userfault/packed_image.h"

namespace userfault::tools {
namespace {

// A line on standard error that is drawn again for every per cent, where that is a terminal.
class ProgressLine {
 public:
  ~ProgressLine() {
    if (drawn_) fmt::print(stderr, "\n");
  }
  void attach(PackOptions& options) {
    if (::isatty(STDERR_FILENO) == 0) return;
    options.context = this;
    options.progress = [](void* context, std::uint64_t done, std::uint64_t total) {
      static_cast<ProgressLine*>(context)->draw(done, total);
    };
  }

 private:
  void draw(std::uint64_t done, std::uint64_t total) {
    const int percent =
        total == 0 ? 100 : static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
    if (percent == drawn_) return;
    drawn_ = percent;
    fmt::print(stderr, "\r{:3}%  {} MiB", percent, done >> 20);
    std::fflush(stderr);
  }
  std::optional<int> drawn_;
};

int fail(const char* command, const std::string& what) {
  fmt::print(stderr, "userfault {}: {}\n", command, what);
  return 1;
}

void print_report(const char* what, const PackReport& report) {
  const double ratio =
      report.packed_bytes == 0 ? 0 : static_cast<double>(report.bytes) / static_cast<double>(report.packed_bytes);
  fmt::print("{}: {} bytes, packed {} bytes in {} frames (ratio {:.2f})\n", what, report.bytes, report.packed_bytes,
             report.frames, ratio);
}

class Pack final : public Command {
 public:
  const char* name() const override { return "pack"; }
  const char* summary() const override { return "compress an image in frames, for restore to read lazily"; }
  void add_options(OptionSet& options) override {
    options.add("FILE", from_, "a flat file, or an ELF core").required();
    options.add("-o,--output", to_, "the packed image; FILE.zst without it");
    options.add("--frame-size", options_.frame_size, "bytes compressed together, 64k to 2m; 128k without it")
        .in_bytes();
    options.add("--level", options_.level, "of compression, 1 to 19").between(1, 19).show_default();
    options.add("--threads", options_.threads, "one a processor without it").between(1, 256);
    options.add_flag("--force", options_.replace, "replace an existing output");
    options.add_flag("--quiet", quiet_, "do not print the report");
  }
  int run() override {
    if (options_.frame_size < kSmallestFrame || options_.frame_size > kLargestFrame || options_.frame_size % 4096 != 0)
      return fail(name(), "--frame-size must be 64k to 2m, a multiple of 4k"), 2;
    const std::string to = to_.empty() ? from_ + ".zst" : to_;
    StoreResult<PackReport> report;
    {
      ProgressLine progress;
      progress.attach(options_);
      report = pack_file(from_, to, options_);
    }
    if (!report) return fail(name(), report.error().text);
    if (!quiet_) print_report(to.c_str(), *report);
    return 0;
  }

 private:
  std::string from_;
  std::string to_;
  PackOptions options_;
  bool quiet_ = false;
};

class Unpack final : public Command {
 public:
  const char* name() const override { return "unpack"; }
  const char* summary() const override { return "bring a packed image back to the file that it was"; }
  void add_options(OptionSet& options) override {
    options.add("FILE", from_, "a packed image").required();
    options.add("-o,--output", to_, "the file; FILE without its .zst without it");
    options.add_flag("--check", check_, "write nothing, only check every frame");
    options.add("--threads", options_.threads, "one a processor without it").between(1, 256);
    options.add_flag("--force", options_.replace, "replace an existing output");
    options.add_flag("--quiet", quiet_, "do not print the report");
  }
  int run() override {
    if (check_ && !to_.empty()) return fail(name(), "--check writes nothing: leave --output out"), 2;
    std::string to = to_;
    if (to.empty() && !check_) {
      if (!from_.ends_with(".zst")) return fail(name(), from_ + " does not end in .zst: say --output"), 2;
      to = from_.substr(0, from_.size() - 4);
    }
    StoreResult<PackReport> report;
    {
      ProgressLine progress;
      progress.attach(options_);
      report = unpack_file(from_, to, options_);
    }
    if (!report) return fail(name(), report.error().text);
    if (!quiet_) print_report(check_ ? from_.c_str() : to.c_str(), *report);
    return 0;
  }

 private:
  std::string from_;
  std::string to_;
  bool check_ = false;
  PackOptions options_;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pack_command() { return std::make_unique<Pack>(); }
std::unique_ptr<Command> make_unpack_command() { return std::make_unique<Unpack>(); }

}  // namespace userfault::tools

// SPDX-License-Identifier: Apache-2.0
#include "tools/restore/report.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "tools/last_error.h"

namespace userfault::tools::restore {
namespace {

std::string size_text(std::uint64_t bytes) {
  if (bytes < 10240) return fmt::format("{} bytes", bytes);
  if (bytes < (std::uint64_t{10} << 20)) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} MiB", bytes >> 20);
}

double us(std::uint64_t ns) { return static_cast<double>(ns) / 1000.0; }

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string json_of(const Report& report) {
  const Statistics& s = report.statistics;
  std::string out = "{\n";
  const auto field = [&](const char* name, const std::string& value, bool last = false) {
    out += fmt::format("  \"{}\": {}{}\n", name, value, last ? "" : ",");
  };
  field("engine", fmt::format("\"{}\"", report.engine));
  field("image", fmt::format("\"{}\"", escaped(report.image)));
  field("store", fmt::format("\"{}\"", escaped(report.store)));
  field("bytes", std::to_string(report.bytes));
  field("verified", report.verified ? "true" : "false");
  field("verified_bytes", std::to_string(report.verified_bytes));
  field("unreadable_pages", std::to_string(report.unreadable));
  field("first_byte_us", fmt::format("{:.3f}", report.first_byte_us));
  field("faults", std::to_string(s.faults));
  field("pages_by_fault", std::to_string(s.pages_by_fault));
  field("pages_by_prefetch", std::to_string(s.pages_by_prefetch));
  field("zero_pages", std::to_string(s.zero_pages));
  field("mapped_pages", std::to_string(s.mapped_pages));
  field("bytes_by_fault", std::to_string(s.bytes_by_fault));
  field("bytes_by_prefetch", std::to_string(s.bytes_by_prefetch));
  field("latency_us", fmt::format("{{\"p50\": {:.3f}, \"p90\": {:.3f}, \"p99\": {:.3f}, \"max\": {:.3f}}}",
                                  us(report.latency.quantile(0.5)), us(report.latency.quantile(0.9)),
                                  us(report.latency.quantile(0.99)), us(report.latency.max())));
  field("budget", std::to_string(report.budget));
  field("evictions", std::to_string(s.evictions));
  field("resident_bytes", std::to_string(s.resident_bytes));
  field("writable", report.writable ? "true" : "false");
  field("bytes_inverted", std::to_string(report.written));
  field("bytes_written", std::to_string(s.bytes_written));
  field("seconds", fmt::format("{:.6f}", report.seconds));
  field("bytes_per_s", fmt::format("{:.0f}", report.bytes_per_s()), true);
  return out + "}\n";
}

}  // namespace

void print(const Report& report) {
  const Statistics& s = report.statistics;
  fmt::print("image        {} ({}, {})\n", report.image,
             report.core ? fmt::format("ELF core, {} segments, {} of them relocated", report.segments, report.relocated)
                         : std::string(report.packed ? "packed file" : "flat file"),
             size_text(report.bytes));
  fmt::print("engine       {}, {} worker{}, pages of {}{}\n", report.engine, report.workers,
             report.workers == 1 ? "" : "s", report.page_size >= (1u << 20) ? "2 MiB" : size_text(report.page_size),
             report.huge ? " (hugetlb)" : "");
  fmt::print("first byte   {:.0f} us\n", report.first_byte_us);
  fmt::print("faults       {} ({} loads had to wait)\n", s.faults, report.latency.count());
  fmt::print("by fault     {} pages, {}\n", s.pages_by_fault, size_text(s.bytes_by_fault));
  fmt::print("by prefetch  {} pages, {}\n", s.pages_by_prefetch, size_text(s.bytes_by_prefetch));
  fmt::print("zero pages   {}\n", s.zero_pages);
  if (s.mapped_pages != 0) fmt::print("mapped pages {}\n", s.mapped_pages);
  if (report.budget != 0)
    fmt::print("budget       {}, {} pages evicted, {} in memory at the end\n", size_text(report.budget), s.evictions,
               size_text(s.resident_bytes));
  if (report.writable)
    fmt::print("written      {} bytes inverted, {} written back\n", report.written, size_text(s.bytes_written));
  fmt::print("latency      p50 {:.1f}, p90 {:.1f}, p99 {:.1f}, max {:.1f} us\n", us(report.latency.quantile(0.5)),
             us(report.latency.quantile(0.9)), us(report.latency.quantile(0.99)), us(report.latency.max()));
  fmt::print("throughput   {:.0f} MiB/s ({:.3f} s)\n", report.bytes_per_s() / (1 << 20), report.seconds);
  if (report.verify_asked)
    fmt::print("verified     {}{} bytes equal the file\n", report.verified ? "every byte: " : "NO: only ",
               report.verified_bytes);
}

void print_histogram(const LatencyHistogram& latency) {
  std::uint64_t rows[65] = {};
  std::uint64_t most = 1;
  for (std::size_t bucket = 0; bucket < LatencyHistogram::kBuckets; ++bucket) {
    std::uint64_t& row = rows[std::bit_width(LatencyHistogram::upper_bound(bucket))];
    row += latency.in_bucket(bucket);
    most = std::max(most, row);
  }
  fmt::print("fault latency, as the reading thread sees it\n");
  for (unsigned i = 0; i < 65; ++i) {
    if (rows[i] == 0) continue;
    const double from = i == 0 ? 0 : us(std::uint64_t{1} << (i - 1));
    const auto width = static_cast<std::size_t>(rows[i] * 50 / most);
    fmt::print("{:>12.3f} us and more {:>9} {}\n", from, rows[i], std::string(std::max<std::size_t>(1, width), '#'));
  }
}

bool write_json(const Report& report, const std::string& path) {
  const std::string text = json_of(report);
  std::FILE* const file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  bool good = file != nullptr && std::fputs(text.c_str(), file) >= 0;
  if (file != nullptr) good = (file == stdout ? std::fflush(file) : std::fclose(file)) == 0 && good;
  if (!good) fmt::print(stderr, "userfault restore: cannot write {}: {}\n", path, last_error());
  return good;
}

Progress::Progress(const Pager& pager, std::uint64_t total_bytes) : pager_(pager), total_(total_bytes) {
  if (::isatty(STDERR_FILENO) == 0) return;
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(100), [this] { return done_; })) draw();
    draw();
    fmt::print(stderr, "\n");
  });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Progress::draw() const {
  const std::uint64_t here = std::min(total_, pager_.statistics().resident_bytes);
  const auto filled = static_cast<std::size_t>(here * 40 / total_);
  fmt::print(stderr, "\r[{}{}] {:3}%  {} MiB", std::string(filled, '#'), std::string(40 - filled, '.'),
             here * 100 / total_, here >> 20);
}

}  // namespace userfault::tools::restore

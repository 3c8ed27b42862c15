// SPDX-License-Identifier: Apache-2.0
// What a restore tells: to a person, to a program, and while it runs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tools/restore/access.h"
#include "userfault/pager.h"

namespace userfault::tools::restore {

struct Report {
  std::string image;
  bool core = false;
  bool packed = false;
  std::string store{};  // how its pages are read
  std::size_t segments = 0;
  std::size_t relocated = 0;
  const char* engine = "";
  unsigned workers = 0;
  std::size_t page_size = 0;
  bool huge = false;
  std::uint64_t bytes = 0;
  bool verify_asked = false;
  bool verified = false;
  std::uint64_t verified_bytes = 0;
  double first_byte_us = 0;
  double seconds = 0;
  std::uint64_t unreadable = 0;
  std::uint64_t budget = 0;  // 0: none
  bool writable = false;
  std::uint64_t written = 0;  // bytes that the access inverted
  LatencyHistogram latency{};
  Statistics statistics{};

  [[nodiscard]] double bytes_per_s() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
};

void print(const Report& report);
void print_histogram(const LatencyHistogram& latency);
// False when the file cannot be written; says so on standard error. "-" is standard output.
[[nodiscard]] bool write_json(const Report& report, const std::string& path);

// A bar on standard error while it lives, where that is a terminal; else nothing.
class Progress {
 public:
  Progress(const Pager& pager, std::uint64_t total_bytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void draw() const;
  const Pager& pager_;
  const std::uint64_t total_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace userfault::tools::restore

// SPDX-License-Identifier: Apache-2.0
// Touching the restored memory as a program would, with the time of every fault as that program
// sees it, and comparing it with the file. The caller keeps a BusGuard.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/restore/image.h"
#include "userfault/histogram.h"

namespace userfault::tools::restore {

using Clock = std::chrono::steady_clock;

enum class AccessPattern : std::uint8_t { kSequential, kRandom, kNone };

struct AccessResult {
  LatencyHistogram latency;        // of the loads that found their page missing
  std::uint64_t unreadable = 0;    // pages that answered with SIGBUS
  std::uint64_t written = 0;       // bytes that were inverted
  Clock::time_point first_byte{};  // when the first load was over
};

struct AccessOptions {
  AccessPattern pattern = AccessPattern::kSequential;
  unsigned readers = 1;
  std::uint64_t seed = 1;
  bool write = false;  // invert the byte that was loaded
};

// Loads the first byte of every page.
[[nodiscard]] AccessResult touch_all(const std::vector<MappedPart>& parts, const AccessOptions& options);

struct VerifyResult {
  std::uint64_t equal_bytes = 0;
  std::uint64_t unreadable = 0;  // pages that answered with SIGBUS
  std::string trouble;           // empty, or what differs first
  Clock::time_point first_byte{};
};

// Compares every byte with the image, read a second time: a file with pread(2) from a descriptor of
// its own, a packed image through a store of its own.
[[nodiscard]] VerifyResult verify(const StoreName& source, const std::vector<MappedPart>& parts);

}  // namespace userfault::tools::restore

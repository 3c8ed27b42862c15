// SPDX-License-Identifier: Apache-2.0
// The pager's counters. All are relaxed: they are read for reports only, and order nothing.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "userfault/histogram.h"

namespace userfault::pager {

class Counter {
 public:
  void add(std::uint64_t n) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  void subtract(std::uint64_t n) noexcept { value_.fetch_sub(n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class SharedHistogram {
 public:
  void add(std::uint64_t ns) noexcept {
    counts_[LatencyHistogram::bucket_of(ns)].add(1);
    std::uint64_t longest = max_.load(std::memory_order_relaxed);
    while (longest < ns && !max_.compare_exchange_weak(longest, ns, std::memory_order_relaxed)) {
    }
  }
  [[nodiscard]] LatencyHistogram snapshot() const noexcept {
    LatencyHistogram result;
    const std::uint64_t longest = max_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if (const std::uint64_t count = counts_[i].get(); count != 0) result.add_bucket(i, count, longest);
    return result;
  }

 private:
  std::array<Counter, LatencyHistogram::kBuckets> counts_;
  std::atomic<std::uint64_t> max_{0};
};

struct Counters {
  Counter faults;
  Counter repeated;
  Counter pages_by_fault;
  Counter pages_by_prefetch;
  Counter zero_pages;
  Counter bytes_by_fault;
  Counter bytes_by_prefetch;
  Counter bytes_read;
  Counter pages_poisoned;
  Counter store_errors;
  Counter resident_bytes;
  SharedHistogram service;
};

[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

}  // namespace userfault::pager

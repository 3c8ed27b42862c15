// SPDX-License-Identifier: Apache-2.0
// The pager's counters. All are relaxed: they are read for reports only, and order nothing.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/check.h"
#include "userfault/histogram.h"
#include "userfault/pager.h"

namespace userfault::pager {

class Counter {
 public:
  void add(std::uint64_t n) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  // Takes back what was counted ahead and did not come to be.
  void subtract(std::uint64_t n) noexcept {
    const std::uint64_t before = value_.fetch_sub(n, std::memory_order_relaxed);
    USERFAULT_CHECK(before >= n, "more is taken from a counter than was counted");
  }
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

// One set a region; a pager's is the sum.
struct Counters {
  Counter faults;
  Counter repeated;
  Counter pages_by_fault;
  Counter pages_by_prefetch;
  Counter zero_pages;
  Counter mapped_pages;
  Counter bytes_by_fault;
  Counter bytes_by_prefetch;
  Counter bytes_read;
  Counter pages_poisoned;
  Counter store_errors;
  Counter resident_bytes;
  Counter prefetch_hits;
  Counter prefetch_dropped;
  Counter evictions;
  Counter revived;
  Counter write_faults;
  Counter bytes_written;
  Counter write_errors;
  Counter dirty_bytes;
  Counter memory_waits;
  SharedHistogram service;

  void add_to(Statistics& sum) const noexcept {
    sum.faults += faults.get();
    sum.repeated += repeated.get();
    sum.pages_by_fault += pages_by_fault.get();
    sum.pages_by_prefetch += pages_by_prefetch.get();
    sum.zero_pages += zero_pages.get();
    sum.mapped_pages += mapped_pages.get();
    sum.bytes_by_fault += bytes_by_fault.get();
    sum.bytes_by_prefetch += bytes_by_prefetch.get();
    sum.bytes_read += bytes_read.get();
    sum.pages_poisoned += pages_poisoned.get();
    sum.store_errors += store_errors.get();
    sum.resident_bytes += resident_bytes.get();
    sum.prefetch_hits += prefetch_hits.get();
    sum.prefetch_dropped += prefetch_dropped.get();
    sum.evictions += evictions.get();
    sum.revived += revived.get();
    sum.write_faults += write_faults.get();
    sum.bytes_written += bytes_written.get();
    sum.write_errors += write_errors.get();
    sum.dirty_bytes += dirty_bytes.get();
    sum.memory_waits += memory_waits.get();
    sum.service.merge(service.snapshot());
  }
};

[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

}  // namespace userfault::pager

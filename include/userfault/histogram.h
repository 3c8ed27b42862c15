// SPDX-License-Identifier: Apache-2.0
// A histogram of durations: 16 buckets for every power of two, so a quantile is at most 1/16 too
// high, and nothing is ever out of range. A plain value; one thread at a time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace userfault {

class LatencyHistogram {
 public:
  static constexpr unsigned kSubBits = 4;
  static constexpr std::size_t kBuckets = (64 - kSubBits + 1) << kSubBits;

  [[nodiscard]] static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < (1u << kSubBits)) return static_cast<std::size_t>(ns);
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - kSubBits - 1;
    return (static_cast<std::size_t>(shift + 1) << kSubBits) +
           static_cast<std::size_t>((ns >> shift) - (1u << kSubBits));
  }
  // The largest duration that falls into a bucket, in nanoseconds.
  [[nodiscard]] static constexpr std::uint64_t upper_bound(std::size_t bucket) noexcept {
    if (bucket < (1u << kSubBits)) return bucket;
    const std::size_t shift = (bucket >> kSubBits) - 1;
    const std::uint64_t base = (std::uint64_t{1} << kSubBits) + (bucket & ((1u << kSubBits) - 1));
    return (base << shift) + ((std::uint64_t{1} << shift) - 1);
  }

  void add(std::uint64_t ns) noexcept { add_bucket(bucket_of(ns), 1, ns); }
  void add_bucket(std::size_t bucket, std::uint64_t count, std::uint64_t longest) noexcept {
    counts_[bucket] += count;
    count_ += count;
    max_ = std::max(max_, longest);
  }
  void merge(const LatencyHistogram& other) noexcept {
    for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  [[nodiscard]] std::uint64_t in_bucket(std::size_t bucket) const noexcept { return counts_[bucket]; }
  // The duration that the part `q` (0 to 1) of all stays at or below, in nanoseconds; 0 when empty.
  [[nodiscard]] std::uint64_t quantile(double q) const noexcept {
    const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(count_) + 0.5);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen != 0 && seen >= rank) return std::min(upper_bound(i), max_);
    }
    return 0;
  }

 private:
  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Two ways of doing one thing, measured in turns within one run, and their ratio.
//
// A machine's speed drifts (frequency, neighbours, what the caches hold), so absolute times of two
// runs cannot be compared. Here every repetition measures A and then B, or B and then A in every
// other repetition, back to back, and the ratio is that of the two medians, which a burst of noise
// can hardly move. Many short repetitions beat few long ones: one that is shorter than a time slice
// is mostly undisturbed. Print ratios, keep the times for the curious.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <utility>
#include <vector>

namespace userfault::bench {

[[nodiscard]] inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const std::size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  return values[middle];
}

// Nanoseconds that `work` takes.
template <typename Work>
[[nodiscard]] double nanoseconds(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

struct Comparison {
  double first_ns = 0;   // median of the first way, for one unit of work
  double second_ns = 0;  // median of the second way
  double ratio = 0;      // second_ns / first_ns
};

struct Plan {
  int repetitions = 31;  // an odd number has a true middle
  int warm_up = 2;       // repetitions that are not counted
  double units = 1;      // how many units of work one call does
};

// `first` and `second` each do one repetition's work and return the nanoseconds it took, so that a
// way may leave its preparation out of the clock.
template <typename First, typename Second>
[[nodiscard]] Comparison compare(const Plan& plan, First&& first, Second&& second) {
  std::vector<double> a;
  std::vector<double> b;
  for (int i = -plan.warm_up; i < plan.repetitions; ++i) {
    const bool swapped = i % 2 != 0;
    const double early = swapped ? second() : first();
    const double late = swapped ? first() : second();
    if (i < 0) continue;
    a.push_back((swapped ? late : early) / plan.units);
    b.push_back((swapped ? early : late) / plan.units);
  }
  const double first_ns = median(std::move(a));
  const double second_ns = median(std::move(b));
  return {first_ns, second_ns, second_ns / first_ns};
}

// A table in Markdown: question | first | second | ratio. Times per unit of work.
class Table {
 public:
  Table(const char* first, const char* second) {
    std::printf("| question | %s | %s | ratio |\n|---|---:|---:|---:|\n", first, second);
  }
  void row(const char* question, const Comparison& result) {
    std::printf("| %s | %.0f ns | %.0f ns | %.3f |\n", question, result.first_ns, result.second_ns, result.ratio);
    std::fflush(stdout);
  }
  void skipped(const char* question, const char* reason) {
    std::printf("| %s | | | skipped: %s |\n", question, reason);
  }
};

}  // namespace userfault::bench

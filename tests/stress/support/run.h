// SPDX-License-Identifier: Apache-2.0
// What every stress scenario needs: options, a seed, a clock, and an end with a sentence.
//
// A scenario runs rounds until its time is over and ends the process with a sentence at the first
// thing that is wrong. It says its seed first, and runs the same random choices again with --seed
// (the threads' interleaving of course differs).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "userfault/userfault.h"

namespace userfault::stress {

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kWords = kPage / sizeof(std::uint64_t);

struct Options {
  userfault_engine engine = USERFAULT_ENGINE_USER;
  const char* engine_name = "user";
  double seconds = 2;
  std::uint64_t seed = 0;
  std::uint64_t size_mib = 0;  // of the scale test
};

// Prints and ends the process; 1 is a failure, 77 a skip.
[[noreturn]] void fail [[gnu::format(printf, 1, 2)]] (const char* format, ...);
[[noreturn]] void skip [[gnu::format(printf, 1, 2)]] (const char* format, ...);

// splitmix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  std::uint64_t state_;
};

class Clock {
 public:
  explicit Clock(double seconds) : end_(std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds)) {}
  // Whether there is time for another round; also tells the watchdog that there is progress.
  [[nodiscard]] bool more() const;

 private:
  std::chrono::time_point<std::chrono::steady_clock, std::chrono::duration<double>> end_;
};

// Ends the process when nothing calls this for two minutes: a hang is a failure with a sentence.
void progress();

// Pins the calling thread to the `index`th processor that it may run on.
void pin(unsigned index);

struct Scenario {
  const char* name;
  // The number of rounds that were made.
  std::uint64_t (*run)(const Options& options);
};

// One scenario of each file.
std::uint64_t run_fill(const Options& options);
std::uint64_t run_overlap(const Options& options);
std::uint64_t run_remove(const Options& options);
std::uint64_t run_write_protect(const Options& options);
std::uint64_t run_write_protect_fill(const Options& options);
std::uint64_t run_release(const Options& options);

}  // namespace userfault::stress

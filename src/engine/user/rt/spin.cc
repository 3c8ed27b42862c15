// SPDX-License-Identifier: Apache-2.0
#include "engine/user/rt/spin.h"

namespace userfault::engine::user {

namespace spin_details {
constinit std::atomic<int> free_processors{0};
constinit std::atomic<std::uint32_t> most_looks{0};
}  // namespace spin_details

namespace {

constinit int processors = 1;

constexpr std::uint64_t kLongest_ns = 80'000;

std::uint64_t now_ns() noexcept {
  timespec now{};
  raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, as_long(&now));
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// Those that this thread may run on: what a container or taskset(1) leaves of the machine.
int usable_processors() noexcept {
  constexpr std::size_t kWords = 128;  // 8192 processors
  std::uint64_t mask[kWords];
  const long bytes = raw_syscall(SYS_sched_getaffinity, 0, sizeof mask, as_long(mask));
  int count = 0;
  for (long i = 0; i * 8 < bytes; ++i)
    for (std::uint64_t left = mask[i]; left != 0; left &= left - 1) ++count;
  return count;
}

// A pause takes from a few to 140 cycles, as the processor's maker pleases. The shortest of a few
// measurements: a time slice that ended in one would make the spin too short for ever.
std::uint32_t looks_in(std::uint64_t ns) noexcept {
  constexpr std::uint32_t kLooks = 256;
  const std::atomic<std::uint32_t> word{0};
  std::uint64_t shortest = ~std::uint64_t{0};
  for (int attempt = 0; attempt < 5; ++attempt) {
    const std::uint64_t start = now_ns();
    for (std::uint32_t i = 0; i < kLooks && word.load(std::memory_order_acquire) == 0; ++i) pause_cpu();
    const std::uint64_t took = now_ns() - start;
    if (took < shortest) shortest = took;
  }
  return static_cast<std::uint32_t>(ns * kLooks / (shortest + 1)) + 1;
}

}  // namespace

void prepare_spinning() noexcept {
  using namespace spin_details;
  if (most_looks.load() != 0) return;
  processors = usable_processors();
  // With one processor the other side cannot run meanwhile.
  most_looks.store(processors > 1 ? looks_in(kLongest_ns) : 1);
  reset_spinning();
}

void reset_spinning() noexcept { spin_details::free_processors.store(processors - 1); }

}  // namespace userfault::engine::user

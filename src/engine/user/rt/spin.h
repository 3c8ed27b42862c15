// SPDX-License-Identifier: Apache-2.0
// Looking for a moment whether something has happened, before sleeping until it has.
//
// To sleep and be woken costs more than a whole fault, above all where the other processor is idle
// and its hypervisor has put it to sleep. To spin costs nothing where the other side runs on another
// processor already, and much where it waits for this one. So it is
//   short     about 80 us,
//   rare      where it does not help: after a few failures one sleep in 256 tries again,
//   bounded   at any time at least one processor less than there are spins, over all instances,
// and with a single processor there is none. The thread that faults tries again for 400 us: by then a
// monitor that slept is awake even where that takes 80 us, and it is told to look, too, before it
// sleeps again. Without that, two sides that sleep never find out that they need not: each look of 80
// us fails because the other one has to be woken. Rejected: sched_yield(2) in between, which gives the
// processor to any program that wants it, for milliseconds, where futex(2) gives it to the side that
// is waited for; and no bound but time, with which 64 threads spin for what one monitor has to do.
#pragma once

#include <atomic>

#include "engine/user/rt/lock.h"

namespace userfault::engine::user {

enum class SpinLength : std::uint8_t { kNone, kShort, kProbe };

// Whether spinning has paid lately, for one kind of sleep. All relaxed: a lost update spins once more.
class SpinRecord {
 public:
  // The first is a probe.
  [[nodiscard]] SpinLength worth() noexcept {
    if (credit_.load(std::memory_order_relaxed) > 0) return SpinLength::kShort;
    const std::uint32_t passed = passed_over_.load(std::memory_order_relaxed);
    passed_over_.store(passed + 1, std::memory_order_relaxed);
    return passed % kRarely == 0 ? SpinLength::kProbe : SpinLength::kNone;
  }
  void ended(bool succeeded) noexcept {
    const int credit = credit_.load(std::memory_order_relaxed);
    if (succeeded && credit < kMost) credit_.store(credit + 1, std::memory_order_relaxed);
    // Only where nearly all succeed is the time of those that do not worth it.
    if (!succeeded && credit > 0) credit_.store(credit > kFailure ? credit - kFailure : 0, std::memory_order_relaxed);
  }
  // The other side is looking: the next one is worth it.
  void encourage() noexcept {
    if (credit_.load(std::memory_order_relaxed) == 0) credit_.store(1, std::memory_order_relaxed);
  }

 private:
  static constexpr int kMost = 8;
  static constexpr int kFailure = 4;
  static constexpr std::uint32_t kRarely = 256;
  std::atomic<int> credit_{0};
  std::atomic<std::uint32_t> passed_over_{0};
};

// Counts processors and measures how long a pause takes; before the first fault, any number of times.
void prepare_spinning() noexcept;
// In the child of a fork: the parent's threads, which may have been spinning, are not here.
void reset_spinning() noexcept;

namespace spin_details {
extern std::atomic<int> free_processors;       // how many more may spin now
extern std::atomic<std::uint32_t> most_looks;  // in a short one; 0: not prepared
inline constexpr std::uint32_t kProbeLength = 5;

// False when no processor is free. The other side may be looking for just what this one has done, and be about
// to let its processor go: so this asks again for a moment, about 5 us.
[[nodiscard]] inline bool take_processor() noexcept {
  for (std::uint32_t asked = 0; asked <= most_looks.load(std::memory_order_relaxed) / 16; ++asked) {
    if (free_processors.fetch_sub(1, std::memory_order_relaxed) > 0) return true;
    free_processors.fetch_add(1, std::memory_order_relaxed);
    pause_cpu();
  }
  return false;
}
}  // namespace spin_details

// True as soon as word != value; false when it did not happen in time, or no processor is free.
[[nodiscard]] inline bool spin_while(const std::atomic<std::uint32_t>& word, std::uint32_t value, SpinLength length,
                                     SpinRecord& record) noexcept {
  using namespace spin_details;
  if (word.load(std::memory_order_acquire) != value) return true;
  if (length == SpinLength::kNone || !take_processor()) return false;
  bool changed = false;
  std::uint32_t left = most_looks.load(std::memory_order_relaxed);
  if (length == SpinLength::kProbe) left *= kProbeLength;
  for (; left > 0 && !changed; --left) {
    pause_cpu();
    // Acquire pairs with the store that ends the wait.
    changed = word.load(std::memory_order_acquire) != value;
  }
  record.ended(changed);
  free_processors.fetch_add(1, std::memory_order_relaxed);
  return changed;
}

}  // namespace userfault::engine::user

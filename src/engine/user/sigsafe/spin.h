// SPDX-License-Identifier: Apache-2.0
// Looking for a moment whether something has happened, before sleeping until it has.
//
// To sleep and be woken costs more than a whole fault, above all where the other processor is idle
// and its hypervisor has put it to sleep. To spin costs nothing where the other side runs on another
// processor already, and much where it waits for this one. So it is
//   short     about 30 us, which is what it takes to wake an idle virtual processor,
//   rare      where it does not help: after a few failures one sleep in 256 tries again,
//   bounded   at any time at least one processor less than there are spins, over all instances,
// and with a single processor there is none. Rejected: sched_yield(2) in between, which gives the
// processor to any program that wants it, for milliseconds, where futex(2) gives it to whoever we
// wait for; and no bound but time, with which 64 threads spin for what one monitor has to do.
#pragma once

#include <atomic>

#include "engine/user/sigsafe/lock.h"

namespace userfault::sigsafe {

// Whether spinning has paid lately, for one kind of sleep. All relaxed: a lost update spins once more.
class SpinRecord {
 public:
  [[nodiscard]] bool is_worth_it() noexcept {
    if (credit_.load(std::memory_order_relaxed) > 0) return true;
    const std::uint32_t passed = passed_over_.load(std::memory_order_relaxed) + 1;
    passed_over_.store(passed, std::memory_order_relaxed);
    return passed % kRarely == 0;
  }
  void ended(bool succeeded) noexcept {
    const int credit = credit_.load(std::memory_order_relaxed);
    if (succeeded && credit < kMost) credit_.store(credit + 1, std::memory_order_relaxed);
    // Only where nearly all succeed is the time of those that do not worth it.
    if (!succeeded && credit > 0) credit_.store(credit > kFailure ? credit - kFailure : 0, std::memory_order_relaxed);
  }

 private:
  static constexpr int kMost = 8;
  static constexpr int kFailure = 4;
  static constexpr std::uint32_t kRarely = 256;
  std::atomic<int> credit_{kMost};
  std::atomic<std::uint32_t> passed_over_{0};
};

// Counts processors and measures how long a pause takes; before the first fault, any number of times.
void prepare_spinning() noexcept;
// In the child of a fork: nobody spins here.
void reset_spinning() noexcept;

namespace spin_details {
extern std::atomic<int> free_processors;       // how many more may spin now
extern std::atomic<std::uint32_t> most_looks;  // 0: not prepared
}  // namespace spin_details

// True as soon as word != value; false when it was not worth trying, or did not happen in time.
[[nodiscard]] inline bool spin_while(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                                     SpinRecord& record) noexcept {
  using namespace spin_details;
  if (word.load(std::memory_order_acquire) != value) return true;
  if (!record.is_worth_it()) return false;
  bool changed = false;
  if (free_processors.fetch_sub(1, std::memory_order_relaxed) > 0) {
    for (std::uint32_t left = most_looks.load(std::memory_order_relaxed); left > 0 && !changed; --left) {
      pause_cpu();
      // Acquire pairs with the store that ends the wait.
      changed = word.load(std::memory_order_acquire) != value;
    }
    record.ended(changed);
  }
  free_processors.fetch_add(1, std::memory_order_relaxed);
  return changed;
}

}  // namespace userfault::sigsafe

// SPDX-License-Identifier: Apache-2.0
// When looking for the next fault for a while is worth more than going to sleep at once.
//
// It is while faults follow each other closely; a thread that faults once a millisecond gains
// nothing by it. So a poll that sees nothing makes the next ones rarer, down to one in 256. A poll
// is bounded in time, and with one processor there is none at all. Rejected: sched_yield(2) between two
// looks, which gives the processor to any program that wants it, for milliseconds.
// Measured on Linux 6.18, two virtual processors: a fault took 9 us instead of 34 to 55, which is
// what it takes to wake a processor that its hypervisor has put to sleep.
//
// The user engine has the same idea in its own spin.h, and the two stay apart: that one counts looks at a
// futex word, shares the processors among all spins of the process, is atomic, and may run in a signal
// handler; this one is bounded by the clock, because a look is a system call, and has one user at a time.
// What they share is three constants.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/check.h"

namespace userfault::pager {

// Threads: one at a time.
class BusyPoll {
 public:
  explicit BusyPoll(unsigned processors = std::thread::hardware_concurrency()) noexcept : pays_(processors > 1) {}

  [[nodiscard]] bool is_worth_it() noexcept { return pays_ && (credit_ > 0 || ++passed_over_ % kRarely == 0); }
  // The descriptor cannot be looked at without waiting.
  void give_up() noexcept { pays_ = false; }

  class Round {
   public:
    explicit Round(BusyPoll& poll) noexcept : poll_(poll), end_(Clock::now() + kLongest) {
      USERFAULT_CHECK(!poll.polling_, "two threads poll as one");
      poll.polling_ = true;
    }
    ~Round() {
      poll_.polling_ = false;
      poll_.credit_ = std::clamp(poll_.credit_ + (succeeded_ ? 1 : -kFailure), 0, kMostCredit);
    }
    Round(const Round&) = delete;
    Round& operator=(const Round&) = delete;
    void succeeded() noexcept { succeeded_ = true; }
    // False when it has been long enough.
    [[nodiscard]] bool go_on() const noexcept { return Clock::now() < end_; }

   private:
    using Clock = std::chrono::steady_clock;
    static constexpr auto kLongest = std::chrono::microseconds(30);
    BusyPoll& poll_;
    const Clock::time_point end_;
    bool succeeded_ = false;
  };

 private:
  static constexpr int kMostCredit = 8;
  static constexpr int kFailure = 4;  // only where nearly all succeed are the others worth their time
  static constexpr unsigned kRarely = 256;
  bool pays_;
  bool polling_ = false;
  int credit_ = kMostCredit;
  unsigned passed_over_ = 0;
};

}  // namespace userfault::pager

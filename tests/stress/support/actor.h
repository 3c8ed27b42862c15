// SPDX-License-Identifier: Apache-2.0
// A thread of the differential test, which may block.
//
// Who blocks is found out without a clock: a thread that has been woken is runnable from that moment
// on, so one that the kernel shows as sleeping, and that has not said it is done, waits for a fault.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace userfault::stress {

// A thread that does one thing at a time, which may block.
class Actor {
 public:
  explicit Actor(bool raises_events);
  ~Actor();
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  void start(std::function<void()> work);
  [[nodiscard]] bool is_done() const { return done_.load(); }
  // Returns when the work is done or the thread sleeps; whether that was so when it was first looked at.
  [[nodiscard]] bool comes_to_rest();
  // Not asleep, and never to be woken.
  [[nodiscard]] bool spins() const { return spins_; }
  [[nodiscard]] int tid() const { return tid_.load(); }

 private:
  void loop();

  bool raises_events_;
  std::atomic<std::uint32_t> command_{0};
  std::atomic<bool> done_{true};
  std::atomic<bool> end_{false};
  std::atomic<int> tid_{0};
  std::function<void()> work_;
  // Linux 6.18 does not put a writer to sleep on some huge page, but lets it fault for ever: whoever has
  // used up a second of processor time waits like this.
  bool spins_ = false;
  int status_ = -1;  // /proc/self/task/TID/stat
  std::thread thread_;
};

}  // namespace userfault::stress

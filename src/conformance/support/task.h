// SPDX-License-Identifier: Apache-2.0
// Threads that are expected to block, and accesses that may end in SIGBUS.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace userfault::conformance {

// No condition of a test takes this long; it only turns a hang into a sentence.
inline constexpr std::chrono::seconds kDeadline{10};

// A thread that does one thing. When the test ends without join(), the thread is left alone: it may
// be blocked for good, and the process of the test ends with it.
class Task {
 public:
  explicit Task(std::function<void()> work);

  [[nodiscard]] pid_t tid() const;
  [[nodiscard]] bool done() const;
  // Waits for the end; throws Broken when it does not come.
  void join();
  // The thread has come to rest (it sleeps in the kernel, or has ended) and is not done. This does
  // not race: who has been woken is runnable from that moment on, and is seen to run or to be done.
  void expect_waiting() const;
  // The same for a thread that caused a layout event: the kernel lets it sleep as one that only a
  // fatal signal ends (state D), which a lock does too. So it counts when it holds still: many looks
  // in a row find it asleep and its time on the processor unchanged.
  void expect_waiting_for_reader() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

// What became of an access: a value, or SIGBUS.
struct Touch {
  bool sigbus = false;
  int code = 0;             // si_code
  void* address = nullptr;  // si_addr
  std::uint64_t value = 0;  // what was read, or written
};

// One access in the calling thread. SIGBUS is caught and told; nothing else is.
[[nodiscard]] Touch touch_read(const void* address);
[[nodiscard]] Touch touch_write(void* address, std::uint64_t value);

// One access in a thread of its own.
class Faulter {
 public:
  [[nodiscard]] static Faulter read(const void* address);
  [[nodiscard]] static Faulter write(void* address, std::uint64_t value);

  [[nodiscard]] pid_t tid() const { return task_.tid(); }
  [[nodiscard]] bool done() const { return task_.done(); }
  void expect_waiting() const { task_.expect_waiting(); }
  // Waits until the access is over.
  Touch join();

 private:
  explicit Faulter(const std::function<Touch()>& access);

  std::shared_ptr<Touch> touch_;
  Task task_;
};

// Called by the runner before anything else: the handler that touch_read() and touch_write() need.
void install_sigbus_handler();

}  // namespace userfault::conformance

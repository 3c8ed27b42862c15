// SPDX-License-Identifier: Apache-2.0
// One engine's half of the differential test: an arena of memory, a descriptor over it, and threads
// that may block.
//
// Who blocks is found out without a clock: a thread that has been woken is runnable from that moment
// on, so one that the kernel shows as sleeping, and that has not said it is done, waits for a fault.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/memory.h"
#include "support/sequence.h"

namespace userfault::stress {

struct Message {
  unsigned event = 0;
  std::uint64_t flags = 0;
  std::uint64_t from = 0;  // relative to the arena
  std::uint64_t to = 0;
  std::uint64_t length = 0;
  int thread = -1;         // whose, with THREAD_ID
  friend auto operator<=>(const Message&, const Message&) = default;
};

struct AccessState {
  bool waits = false;
  int signal = 0;
  std::uint64_t value = 0;
  friend bool operator==(const AccessState&, const AccessState&) = default;
};

// All that can be compared after one operation.
struct Outcome {
  std::int64_t result = 0;
  int error = 0;
  std::int64_t output = 0;
  std::vector<Message> messages;
  std::vector<AccessState> accesses;
  std::vector<std::uint64_t> extra;  // what a scan found
  friend bool operator==(const Outcome&, const Outcome&) = default;
};
[[nodiscard]] std::string to_string(const Outcome& outcome);

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
  [[nodiscard]] int tid() const { return tid_.load(); }

 private:
  void loop();

  bool raises_events_;
  std::atomic<std::uint32_t> command_{0};
  std::atomic<bool> done_{true};
  std::atomic<bool> end_{false};
  std::atomic<int> tid_{0};
  std::function<void()> work_;
  int status_ = -1;  // /proc/self/task/TID/stat
  std::thread thread_;
};

class World {
 public:
  World(userfault_engine engine, std::uintptr_t base);

  // Fresh memory and a fresh descriptor; 0 or the errno of opening or of the handshake.
  [[nodiscard]] int begin(std::uint64_t features);
  [[nodiscard]] Outcome perform(const Operation& operation);
  // Closes the descriptor, lets everybody go on, and reads all memory that is left.
  [[nodiscard]] Outcome end();
  // Of a byte of the arena.
  [[nodiscard]] std::uintptr_t address_of(std::uint64_t offset) const { return base_ + offset; }

 private:
  void map_arena();
  void settle(Outcome& outcome);
  void read_messages(Outcome& outcome);
  void operate(const Operation& operation, Outcome& outcome);
  void access(const Operation& operation, Outcome& outcome);
  void change_layout(const Operation& operation, Outcome& outcome);
  void scan(const Operation& operation, Outcome& outcome);
  void set(Outcome& outcome, std::int64_t result) const;
  [[nodiscard]] std::uint64_t relative(std::uint64_t address) const { return address - base_; }
  [[nodiscard]] char* at(std::uint64_t offset) const { return reinterpret_cast<char*>(base_ + offset); }

  userfault_engine engine_;
  std::uintptr_t base_;
  int fd_ = -1;
  int memfd_ = -1;
  char* alias_ = nullptr;
  std::vector<char> source_;
  std::unique_ptr<Actor> toucher_[2];
  Actor changer_;
  AccessState access_[2];
};

// Before any engine is opened: accesses end in a signal sometimes.
void catch_access_signals();

}  // namespace userfault::stress

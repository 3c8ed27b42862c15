// SPDX-License-Identifier: Apache-2.0
// The events of one layout change: prepared before it under the table's lock, so that operations answer EAGAIN from
// then on, and delivered after it without any lock.
#pragma once

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

// A layout change begins, and is over: operations answer EAGAIN in between. begin_change() returns the generation that
// the end belongs to. Signals have to be blocked in between: a handler that waits for the monitor would wait for what
// this thread alone can end.
[[nodiscard]] std::uint32_t begin_change(Instance& instance) noexcept;
void end_change(Instance& instance, std::uint32_t generation) noexcept;

// Under the instance's lock, when it ends: no event will be read.
void abandon_events(Instance& instance) noexcept;

class Events {
 public:
  // Counts the instance as changing, once; nothing if it does not want `feature`. Signals have to be blocked from here
  // until deliver() or cancel() is done.
  void prepare(Instance* instance, std::uint64_t feature, const userfault_msg& message, int passed_fd = -1) noexcept;
  // Raises each and waits until it was read or its instance is gone; then the change is over.
  void deliver() noexcept;
  // The change was refused: there is nothing to tell.
  void cancel() noexcept;

 private:
  struct Entry {
    Instance* instance = nullptr;
    std::uint32_t generation = 0;
    Event event{};
  };
  static constexpr std::size_t kMost = 32;
  Entry entries_[kMost];
  std::size_t count_ = 0;
};

[[nodiscard]] userfault_msg range_event(std::uint8_t event, std::uintptr_t start, std::uintptr_t end) noexcept;
[[nodiscard]] userfault_msg remap_event(std::uintptr_t from, std::uintptr_t to, std::size_t length) noexcept;

}  // namespace userfault::engine::user

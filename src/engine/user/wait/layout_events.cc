// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/layout_events.h"

#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

void Events::prepare(Instance* instance, std::uint64_t feature, const userfault_msg& message, int passed_fd) noexcept {
  if (instance == nullptr || (instance->features & feature) == 0 || count_ == kMost) return;
  for (std::size_t i = 0; i < count_; ++i) {
    const Entry& entry = entries_[i];
    if (entry.instance == instance && entry.event.message.event == message.event &&
        entry.event.message.arg.remove.start == message.arg.remove.start)
      return;
  }
  Entry& entry = entries_[count_++];
  entry.instance = instance;
  entry.event.message = message;
  entry.event.passed_fd = passed_fd;
  entry.generation = begin_change(*instance);
}

void Events::deliver() noexcept {
  // The kernel sleeps killable here: handlers wait until the event was read.
  for (Entry* entry = entries_; entry != entries_ + count_; ++entry) {
    raise_and_wait(*entry->instance, entry->generation, entry->event);
    end_change(*entry->instance, entry->generation);
  }
  count_ = 0;
}

void Events::cancel() noexcept {
  for (Entry* entry = entries_; entry != entries_ + count_; ++entry) end_change(*entry->instance, entry->generation);
  count_ = 0;
}

userfault_msg range_event(std::uint8_t event, std::uintptr_t start, std::uintptr_t end) noexcept {
  userfault_msg message{};
  message.event = event;
  message.arg.remove.start = start;
  message.arg.remove.end = end;
  return message;
}

userfault_msg remap_event(std::uintptr_t from, std::uintptr_t to, std::size_t length) noexcept {
  userfault_msg message{};
  message.event = USERFAULT_EVENT_REMAP;
  message.arg.remap.from = from;
  message.arg.remap.to = to;
  message.arg.remap.len = length;
  return message;
}

}  // namespace userfault::engine::user

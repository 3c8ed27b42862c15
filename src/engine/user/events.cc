// SPDX-License-Identifier: Apache-2.0
#include "engine/user/events.h"

namespace userfault::engine::user {

using namespace sigsafe;

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
  instance->changing.fetch_add(1);
}

void Events::deliver() noexcept {
  // The kernel sleeps killable here: handlers wait until the event was read.
  SignalsBlocked blocked;
  for (std::size_t i = 0; i < count_; ++i) {
    static_cast<void>(raise_and_wait(*entries_[i].instance, entries_[i].event));
    entries_[i].instance->changing.fetch_sub(1);
  }
  count_ = 0;
}

void Events::cancel() noexcept {
  for (std::size_t i = 0; i < count_; ++i) entries_[i].instance->changing.fetch_sub(1);
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

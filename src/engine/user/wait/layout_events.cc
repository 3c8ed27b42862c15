// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/layout_events.h"

#include <cerrno>

#include "engine/user/rt/check.h"
#include "engine/user/wait/doorbell.h"
#include "engine/user/wait/readers.h"

namespace userfault::engine::user {
namespace {

// False where the instance stands for another descriptor by now, or for none.
bool queue_event(Instance& instance, std::uint32_t generation, Event& event) noexcept {
  Locked locked(instance.lock);
  if (!instance.used.load() || !is_generation(instance, generation)) return false;
  USERFAULT_INVARIANT(instance.changing.load() > 0, "an event was raised outside of a layout change");
  USERFAULT_INVARIANT(event.state.load(std::memory_order_relaxed) == Event::kUnread, "an event was raised twice");
  event.next = nullptr;
  (instance.last_event != nullptr ? instance.last_event->next : instance.events) = &event;
  instance.last_event = &event;
  if (announce(instance, false)) sys::futex_wake(&instance.arrivals, 1);
  return true;
}

// Queues an event of a change that began in `generation`, and sleeps until it was read or the instance was closed.
void raise_and_wait(Instance& instance, std::uint32_t generation, Event& event) noexcept {
  if (!queue_event(instance, generation, event)) {
    if (event.passed_fd >= 0) sys::close(event.passed_fd);
    return;
  }
  const timespec* patience = &kReaderGrace;
  while (event.state.load(std::memory_order_acquire) == Event::kUnread) {
    if (sys::futex_wait(&event.state, Event::kUnread, patience) != -ETIMEDOUT) continue;
    patience = nullptr;
    call_for_readers(instance);
  }
}

}  // namespace

std::uint32_t begin_change(Instance& instance) noexcept {
  Locked locked(instance.lock);
  const int before = instance.changing.fetch_add(1);
  USERFAULT_INVARIANT(before >= 0, "more layout changes ended than began");
  return instance.generation.load(std::memory_order_relaxed);
}

void end_change(Instance& instance, std::uint32_t generation) noexcept {
  Locked locked(instance.lock);
  if (!is_generation(instance, generation)) return;
  const int before = instance.changing.fetch_sub(1);
  USERFAULT_INVARIANT(before > 0, "a layout change ended that never began");
}

void abandon_events(Instance& instance) noexcept {
  for (Event* event = instance.events; event != nullptr;) {
    Event* const next = event->next;
    if (event->passed_fd >= 0) sys::close(event->passed_fd);
    event->state.store(Event::kAbandoned, std::memory_order_release);
    sys::futex_wake(&event->state, 1);
    event = next;
  }
  instance.events = instance.last_event = nullptr;
}

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

// SPDX-License-Identifier: Apache-2.0
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

constinit Instance instances[kMaxInstances];

InThread in_thread_of(const Instance& instance) noexcept {
  for (;;) {
    const std::uint32_t count = instance.in_thread_count.begin_reading();
    const InThread handler = instance.in_thread.load();
    if (!instance.in_thread_count.has_changed(count)) return handler;
  }
}

void set_in_thread(Instance& instance, const InThread& handler) noexcept {
  SignalsBlocked blocked;
  Locked locked(instance.lock);
  instance.in_thread_count.begin_change();
  instance.in_thread.store(handler);
  instance.in_thread_count.end_change();
}

std::uintptr_t address_of(const Instance& instance, const FaultReport& report) noexcept {
  return (instance.features & USERFAULT_FEATURE_EXACT_ADDRESS) != 0 ? report.exact : report.address;
}

userfault_msg message_of(const Instance& instance, std::uintptr_t address, std::uint64_t flags, int tid) noexcept {
  userfault_msg message{};
  message.event = USERFAULT_EVENT_PAGEFAULT;
  message.arg.pagefault.flags = flags;
  message.arg.pagefault.address = address;
  if ((instance.features & USERFAULT_FEATURE_THREAD_ID) != 0)
    message.arg.pagefault.feat.ptid = static_cast<std::uint32_t>(tid);
  return message;
}

void forget_read_fd(Instance& instance, int fd) noexcept {
  Locked locked(instance.lock);
  if (instance.read_fd == fd) instance.read_fd = -1;
}

void empty_instance(Instance& instance) noexcept {
  instance.lock.reset();
  instance.pending = instance.delivered = {};
  instance.events = instance.last_event = nullptr;
  instance.readable.store(0);
  instance.blocked_readers.store(0);
  instance.futex_sleepers.store(0);
  instance.changing.store(0);
  instance.in_thread_count.reset();
  instance.generation.fetch_add(1);
}

}  // namespace userfault::engine::user

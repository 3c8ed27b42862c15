// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel/in_thread.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>

#include "base/fdinfo.h"
#include "base/mutex.h"
#include "base/page_size.h"
#include "engine/kernel/mapping_page.h"
#include "engine/user/fault/handler.h"
#include "engine/user/fault/kernel_in_thread.h"

namespace userfault::engine::kernel {
namespace {

using engine::user::ServedRange;

// What a fault needs to know of its descriptor.
struct Served {
  std::uint64_t features = 0;
  InThreadHandler handler = nullptr;
  void* context = nullptr;
  int fd = -1;
  bool may_be_poisoned = false;
};

// errno belongs to the code that was interrupted.
int invoke(const ServedRange& range, const userfault_msg* fault) {
  const int interrupted = errno;
  const int result = range.function(range.context, range.fd, fault);
  errno = interrupted;
  return result;
}

class Registry {
 public:
  // How many descriptors are followed: the one load that all other descriptors pay.
  [[nodiscard]] bool is_idle() const noexcept { return followed_.load(std::memory_order_relaxed) == 0; }

  void follow(int fd, std::uint64_t features) noexcept USERFAULT_EXCLUDES(mutex_);
  void forget(int fd) noexcept USERFAULT_EXCLUDES(mutex_);
  [[nodiscard]] bool add(int fd, const userfault_register& registered) noexcept USERFAULT_EXCLUDES(mutex_);
  void remove(std::uintptr_t start, std::uintptr_t end) noexcept USERFAULT_EXCLUDES(mutex_);
  void move(std::uintptr_t from, std::uintptr_t to, std::size_t old_length, std::size_t new_length) noexcept
      USERFAULT_EXCLUDES(mutex_);
  void poisoned(int fd) noexcept USERFAULT_EXCLUDES(mutex_);
  [[nodiscard]] int set(int fd, InThreadHandler handler, void* context) noexcept USERFAULT_EXCLUDES(mutex_);

  void lock_for_fork() noexcept USERFAULT_ACQUIRE(mutex_) { mutex_.lock(); }
  void unlock_after_fork() noexcept USERFAULT_RELEASE(mutex_) { mutex_.unlock(); }

 private:
  [[nodiscard]] Served* find(int fd) noexcept USERFAULT_REQUIRES(mutex_);
  void follow_locked(int fd, std::uint64_t features) noexcept USERFAULT_REQUIRES(mutex_);
  void forget_locked(int fd) noexcept USERFAULT_REQUIRES(mutex_);
  [[nodiscard]] std::vector<ServedRange> cut(std::uintptr_t start, std::uintptr_t end) noexcept
      USERFAULT_REQUIRES(mutex_);
  [[nodiscard]] bool publish() noexcept USERFAULT_REQUIRES(mutex_);

  base::Mutex mutex_;
  std::vector<Served> served_ USERFAULT_GUARDED_BY(mutex_);
  std::vector<ServedRange> ranges_ USERFAULT_GUARDED_BY(mutex_);  // sorted, disjoint
  std::atomic<int> followed_ = 0;
};

// Never destroyed: a thread may fault while the process exits.
Registry& registry() noexcept {
  static Registry& instance = *new Registry;
  return instance;
}

// Before anything allocates: most processes never get further.
std::atomic<bool> any_followed = false;

Served* Registry::find(int fd) noexcept {
  const auto at = std::ranges::find(served_, fd, &Served::fd);
  return at == served_.end() ? nullptr : &*at;
}

// Takes what lies in [start, end) out of ranges_ and returns it.
std::vector<ServedRange> Registry::cut(std::uintptr_t start, std::uintptr_t end) noexcept {
  std::vector<ServedRange> kept;
  std::vector<ServedRange> taken;
  for (const ServedRange& range : ranges_) {
    const auto piece = [&](std::uintptr_t from, std::uintptr_t to, std::vector<ServedRange>& into) {
      if (from >= to) return;
      into.push_back(range);
      into.back().start = from;
      into.back().end = to;
    };
    piece(range.start, std::min(range.end, start), kept);
    piece(std::max(range.start, start), std::min(range.end, end), taken);
    piece(std::max(range.start, end), range.end, kept);
  }
  ranges_ = std::move(kept);
  return taken;
}

bool Registry::publish() noexcept {
  std::ranges::sort(ranges_, {}, &ServedRange::start);
  for (ServedRange& range : ranges_) {
    const Served* served = find(range.fd);
    range.function = served != nullptr ? served->handler : nullptr;
    range.context = served != nullptr ? served->context : nullptr;
    range.features = served != nullptr ? served->features : 0;
    range.may_be_poisoned = served != nullptr && served->may_be_poisoned ? 1 : 0;
  }
  return engine::user::publish_served(
      {.ranges = ranges_.data(), .count = ranges_.size(), .base_page = base::page_size(), .invoke = invoke});
}

void Registry::forget_locked(int fd) noexcept {
  std::erase_if(ranges_, [fd](const ServedRange& range) { return range.fd == fd; });
  if (std::erase_if(served_, [fd](const Served& served) { return served.fd == fd; }) > 0) --followed_;
}

void Registry::follow_locked(int fd, std::uint64_t features) noexcept {
  forget_locked(fd);  // the number was used before
  served_.push_back({.features = features, .fd = fd});
  ++followed_;
}

void Registry::follow(int fd, std::uint64_t features) noexcept {
  const base::MutexLock lock(mutex_);
  follow_locked(fd, features);
  static_cast<void>(publish());
}

void Registry::forget(int fd) noexcept {
  const base::MutexLock lock(mutex_);
  if (find(fd) == nullptr) return;
  forget_locked(fd);
  static_cast<void>(publish());
}

// Fewer modes than before are silently more (real-kernel row 5); others take their place (row 54). False:
// no memory, and nothing was added.
bool Registry::add(int fd, const userfault_register& registered) noexcept {
  const base::MutexLock lock(mutex_);
  if (find(fd) == nullptr) return true;
  const std::vector<ServedRange> before = ranges_;
  const std::uintptr_t start = registered.range.start;
  const std::uintptr_t end = start + registered.range.len;
  const bool huge = (registered.ioctls & (std::uint64_t{1} << USERFAULT_NR_ZEROPAGE)) == 0;
  ServedRange fresh{.start = start,
                    .end = end,
                    .page_size = huge ? mapping_page_size(start) : base::page_size(),
                    .fd = fd,
                    .process = ::getpid(),
                    .modes = static_cast<std::uint32_t>(registered.mode)};
  std::uintptr_t covered = start;
  for (ServedRange old : cut(start, end)) {
    if (old.start > covered) ranges_.push_back(fresh), ranges_.back().start = covered, ranges_.back().end = old.start;
    ranges_.push_back(fresh);
    ranges_.back().start = old.start;
    ranges_.back().end = old.end;
    if (old.fd == fd && (old.modes & fresh.modes) == fresh.modes) ranges_.back().modes = old.modes;
    covered = old.end;
  }
  fresh.start = covered;
  if (covered < end) ranges_.push_back(fresh);
  if (publish()) return true;
  ranges_ = before;
  return false;
}

void Registry::remove(std::uintptr_t start, std::uintptr_t end) noexcept {
  const base::MutexLock lock(mutex_);
  if (!cut(start, end).empty()) static_cast<void>(publish());
}

// Only with EVENT_REMAP does a mapping keep its registration when it moves (row 24). What grew is
// registered, too.
void Registry::move(std::uintptr_t from, std::uintptr_t to, std::size_t old_length, std::size_t new_length) noexcept {
  const base::MutexLock lock(mutex_);
  std::vector<ServedRange> moved = cut(from, from + old_length);
  static_cast<void>(cut(to, to + new_length));
  for (ServedRange& range : moved) {
    const Served* served = find(range.fd);
    if (from != to && (served == nullptr || (served->features & USERFAULT_FEATURE_EVENT_REMAP) == 0)) continue;
    if (range.start - from >= new_length) continue;
    const bool last = range.end == from + old_length;
    range.end = last ? to + new_length : std::min(range.end - from + to, to + new_length);
    range.start = range.start - from + to;
    ranges_.push_back(range);
  }
  static_cast<void>(publish());
}

void Registry::poisoned(int fd) noexcept {
  const base::MutexLock lock(mutex_);
  Served* served = find(fd);
  if (served == nullptr || served->may_be_poisoned) return;
  served->may_be_poisoned = true;
  static_cast<void>(publish());
}

int Registry::set(int fd, InThreadHandler handler, void* context) noexcept {
  const base::MutexLock lock(mutex_);
  const auto features = base::userfaultfd_features(fd);
  if (features && (*features & USERFAULT_FEATURE_SIGBUS) != 0 && find(fd) == nullptr) follow_locked(fd, *features);
  Served* served = find(fd);
  if (served == nullptr || (features && (*features & USERFAULT_FEATURE_SIGBUS) == 0)) return -EINVAL;
  if (const long result = handler != nullptr ? engine::user::install_sigbus_handler() : 0; result < 0)
    return static_cast<int>(result);
  const Served before = *served;
  served->handler = handler;
  served->context = context;
  if (publish()) return 0;
  *served = before;
  return -ENOMEM;
}

// A child must not find the lock held by a thread that it does not have: it is held over the fork.
void before_fork() USERFAULT_NO_THREAD_SAFETY_ANALYSIS { registry().lock_for_fork(); }
void after_fork() USERFAULT_NO_THREAD_SAFETY_ANALYSIS { registry().unlock_after_fork(); }

void mark_followed() noexcept {
  if (!any_followed.exchange(true)) ::pthread_atfork(before_fork, after_fork, after_fork);
}

bool is_idle() noexcept { return !any_followed.load(std::memory_order_relaxed) || registry().is_idle(); }

}  // namespace

namespace {

int call(int fd, unsigned long request, void* argument) noexcept {
  return ::ioctl(fd, request, argument) == 0 ? 0 : -errno;
}

int register_and_note(int fd, void* argument) noexcept {
  const engine::user::RegistrationUnderWay under_way;
  const int result = call(fd, USERFAULT_IOC_REGISTER, argument);
  auto& registered = *static_cast<userfault_register*>(argument);
  if (result != 0 || registry().add(fd, registered)) return result;
  static_cast<void>(call(fd, USERFAULT_IOC_UNREGISTER, &registered.range));
  return -ENOMEM;
}

void note_operation(int fd, unsigned long request, const void* argument) noexcept {
  if (request == USERFAULT_IOC_API) {
    // The features word has been overwritten by what is available: ask what was enabled.
    const auto features = base::userfaultfd_features(fd);
    if (!features || (*features & USERFAULT_FEATURE_SIGBUS) == 0) return note_closed(fd);
    mark_followed();
    return registry().follow(fd, *features);
  }
  if (is_idle()) return;
  if (request == USERFAULT_IOC_UNREGISTER) {
    const auto& range = *static_cast<const userfault_range*>(argument);
    registry().remove(range.start, range.start + range.len);
  } else if (request == USERFAULT_IOC_POISON) {
    registry().poisoned(fd);
  }
}

}  // namespace

int operate_and_note(int fd, unsigned long request, void* argument) noexcept {
  if (request == USERFAULT_IOC_REGISTER && !is_idle()) return register_and_note(fd, argument);
  const int result = call(fd, request, argument);
  if (result == 0) note_operation(fd, request, argument);
  return result;
}

void note_unmapped(std::uintptr_t start, std::size_t length) noexcept {
  if (!is_idle()) registry().remove(start, start + length);
}

void note_moved(std::uintptr_t from, std::size_t old_length, std::uintptr_t to, std::size_t new_length) noexcept {
  if (!is_idle()) registry().move(from, to, old_length, new_length);
}

void note_closed(int fd) noexcept {
  if (!is_idle()) registry().forget(fd);
}

int set_in_thread_handler(int fd, InThreadHandler handler, void* context) noexcept {
  mark_followed();
  return registry().set(fd, handler, context);
}

}  // namespace userfault::engine::kernel

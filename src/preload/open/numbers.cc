// SPDX-License-Identifier: Apache-2.0
#include "preload/open/numbers.h"

#include <fcntl.h>

#include <cstdio>
#include <cstring>

#include "preload/open/open_descriptors.h"

namespace userfault::preload {
namespace {

bool is_ring(int fd) noexcept {
  char path[32];
  char target[32] = {};
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const long length = engine::user::raw_syscall(SYS_readlinkat, AT_FDCWD, engine::user::as_long(path),
                                                engine::user::as_long(target), sizeof target - 1);
  return length > 0 && std::strcmp(target, "anon_inode:[io_uring]") == 0;
}

// Relaxed: a process without the filter may mark too much.
constinit std::atomic<bool> instructions_are_seen = false;

}  // namespace

void mark_number(int fd) noexcept {
  const auto number = static_cast<unsigned>(fd);
  if (number < kMarkedNumbers) number_marks[number / 64].fetch_or(std::uint64_t{1} << (number % 64));
}

void note_arrival(int fd) noexcept {
  if (!user_engine().owns(fd)) return;
  mark_number(fd);
  if (!instructions_are_seen.load(std::memory_order_relaxed)) mark_all_numbers();
}

void mark_all_numbers() noexcept {
  for (auto& word : number_marks) word.store(~std::uint64_t{0});
}

// Two threads that come first mark the same numbers.
void mark_inherited() noexcept {
  const bool known = for_each_descriptor(note_arrival);
  if (!known) mark_all_numbers();
  inherited_marked.store(true, std::memory_order_release);
}

void watch_numbers(bool filtered) noexcept {
  if (!filtered) return mark_all_numbers();
  // Before the look: a ring that is set up meanwhile is trapped.
  instructions_are_seen.store(true);
  bool found = false;
  const bool known = for_each_descriptor([&](int fd) { found = found || is_ring(fd); });
  if (found || !known) mark_all_numbers();
}

}  // namespace userfault::preload

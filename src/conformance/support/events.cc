// SPDX-License-Identifier: Apache-2.0
#include "support/events.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace userfault::conformance {
namespace {

void expect_range_event(const Uffd& uffd, int event, Range range) {
  const userfault_msg message = uffd.next_message();
  EXPECT_EQ(message.event, event);
  const std::uint64_t start = message.arg.remove.start;
  const std::uint64_t end = message.arg.remove.end;
  EXPECT_EQ(start, range.start);
  EXPECT_EQ(end, range.start + range.length);
}

}  // namespace

void expect_removed(const Uffd& uffd, Range range) { expect_range_event(uffd, USERFAULT_EVENT_REMOVE, range); }
void expect_unmapped(const Uffd& uffd, Range range) { expect_range_event(uffd, USERFAULT_EVENT_UNMAP, range); }

void expect_remapped(const Uffd& uffd, Range from, const void* to) {
  const userfault_msg message = uffd.next_message();
  EXPECT_EQ(message.event, USERFAULT_EVENT_REMAP);
  const std::uint64_t old_start = message.arg.remap.from;
  const std::uint64_t new_start = message.arg.remap.to;
  const std::uint64_t length = message.arg.remap.len;
  EXPECT_EQ(old_start, from.start);
  EXPECT_EQ(new_start, reinterpret_cast<std::uintptr_t>(to));
  EXPECT_EQ(length, from.length);
}

Uffd expect_forked(const Uffd& uffd) {
  const userfault_msg message = uffd.next_message();
  if (message.event != USERFAULT_EVENT_FORK) throw Broken("the message is not EVENT_FORK");
  return Uffd(static_cast<int>(message.arg.fork.ufd));
}

char* reserve(std::size_t bytes) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  void* const room = ::mmap(nullptr, bytes + kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) throw Broken("mmap of a reserve");
  const auto start = (reinterpret_cast<std::uintptr_t>(room) + kHuge - 1) & ~(kHuge - 1);
  return reinterpret_cast<char*>(start);
}

void fill_page(const Uffd& uffd, const Mapping& map, std::size_t index, std::uint64_t seed) {
  const auto source = pattern(map.page_size(), seed);
  if (uffd.copy(map.range(index, 1), source.data()) != Done(map.page_size())) throw Broken("UFFDIO_COPY of a page");
}

bool is_unmapped(const void* page) {
  unsigned char present = 0;
  return ::mincore(const_cast<void*>(page), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), &present) != 0 &&
         errno == ENOMEM;
}

}  // namespace userfault::conformance

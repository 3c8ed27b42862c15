// SPDX-License-Identifier: Apache-2.0
#include "support/operations.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "support/modes.h"
#include "support/task.h"

namespace userfault::conformance {
namespace {

Outcome call_copy(const Uffd& uffd, Range range, const void* source, std::uint64_t mode) {
  return uffd.copy(range, source, mode);
}
Outcome call_zeropage(const Uffd& uffd, Range range, const void*, std::uint64_t mode) {
  return uffd.zeropage(range, mode);
}
Outcome call_continue(const Uffd& uffd, Range range, const void*, std::uint64_t mode) {
  return uffd.map_cached(range, mode);
}
Outcome call_poison(const Uffd& uffd, Range range, const void*, std::uint64_t mode) { return uffd.poison(range, mode); }
Outcome call_move(const Uffd& uffd, Range range, const void* source, std::uint64_t mode) {
  return uffd.move(range, source, mode);
}

constexpr Filling kCopy{"COPY", USERFAULT_IOC_COPY, kMissing, USERFAULT_COPY_MODE_DONTWAKE, 4, call_copy};
constexpr Filling kZeropage{"ZEROPAGE", USERFAULT_IOC_ZEROPAGE, kMissing, USERFAULT_ZEROPAGE_MODE_DONTWAKE,
                            2,          call_zeropage};
constexpr Filling kContinue{"CONTINUE", USERFAULT_IOC_CONTINUE, kMinor, USERFAULT_CONTINUE_MODE_DONTWAKE,
                            4,          call_continue};
constexpr Filling kPoison{"POISON", USERFAULT_IOC_POISON, kMissing, USERFAULT_POISON_MODE_DONTWAKE, 2, call_poison};
constexpr Filling kMove{"MOVE", USERFAULT_IOC_MOVE, kMissing, USERFAULT_MOVE_MODE_DONTWAKE, 4, call_move};

char* new_source(const Mapping& map) {
  void* memory = ::mmap(nullptr, map.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Broken("mmap of the source");
  (void)::madvise(memory, map.size(), MADV_NOHUGEPAGE);
  auto* source = static_cast<char*>(memory);
  for (std::size_t page = 0; page < map.pages(); ++page)
    fill_pattern(source + page * map.page_size(), map.page_size(), page + 1);
  return source;
}

}  // namespace

std::vector<Filling> fillings(const Context& context) {
  std::vector<Filling> result{kCopy};
  if (!is_hugetlb(context.backing)) result.push_back(kZeropage);
  if (is_shared(context.backing) && context.has(features_for(context, kMinor))) result.push_back(kContinue);
  if (context.has(USERFAULT_FEATURE_POISON)) result.push_back(kPoison);
  const bool anonymous = context.backing == Backing::kPrivateAnonymous || context.backing == Backing::kNone;
  if (anonymous && context.has(USERFAULT_FEATURE_MOVE)) result.push_back(kMove);
  return result;
}

Ground::Ground(const Context& context, const Uffd& uffd, const Filling& operation, std::size_t pages)
    : map(context, pages), source(new_source(map)), filling(operation) {
  if (filling.modes == kMinor) std::memcpy(map.alias(0), source, map.size());
  uffd.must_register(map.all(), filling.modes);
}

Outcome Ground::call(const Uffd& uffd, std::size_t first, std::size_t count, std::uint64_t mode) const {
  return filling.call(uffd, map.range(first, count), source + first * map.page_size(), mode);
}

Outcome Ground::call(const Uffd& uffd, Range range, std::uint64_t mode) const {
  return filling.call(uffd, range, source, mode);
}

void Ground::expect_filled(std::size_t page) const {
  SCOPED_TRACE(filling.name);
  if (filling.request == USERFAULT_IOC_POISON) {
    EXPECT_TRUE(touch_read(map.page(page)).sigbus);
  } else if (filling.request == USERFAULT_IOC_ZEROPAGE) {
    expect_zero(map.page(page), map.page_size());
  } else {
    expect_pattern(map.page(page), map.page_size(), page + 1);
  }
}

void Ground::expect_still_missing(const Uffd& uffd, std::size_t page) const {
  SCOPED_TRACE(filling.name);
  Faulter faulter = expect_read_faults(uffd, map.page(page), filling.modes == kMinor ? kFaultMinor : 0);
  if (filling.modes == kMinor) {
    EXPECT_EQ(uffd.map_cached(map.range(page, 1)), Done(map.page_size()));
    EXPECT_EQ(faulter.join().value, pattern_word(page + 1, 0));
  } else {
    uffd.fill_with_zeros(map.range(page, 1));
    EXPECT_EQ(faulter.join().value, 0u);
    expect_zero(map.page(page), map.page_size());
  }
}

}  // namespace userfault::conformance

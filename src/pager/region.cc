// SPDX-License-Identifier: Apache-2.0
#include "pager/region.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/page_size.h"
#include "pager/fill.h"
#include "pager/poison.h"
#include "userfault/memory.h"

namespace userfault::pager {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
// How far ahead of a walking thread pages are fetched at once: enough that the pause at its end
// costs nothing, little enough that a wrong guess does not either.
constexpr std::size_t kAheadBytes = std::size_t{16} << 20;

std::uintptr_t address_of(const MapOptions& options) { return PageRange::of(options.address, 0).start; }

std::unexpected<Error> map_error(int code, const MapOptions& options, std::size_t length) {
  return std::unexpected(
      Error{.operation = Operation::kMap, .code = code, .address = address_of(options), .length = length});
}

bool good_options(const MapOptions& options, std::size_t page) {
  const bool page_ok = std::has_single_bit(page) && page >= base::page_size() && page <= kHugePage;
  const bool address_ok = address_of(options) % base::page_size() == 0;
  return page_ok && address_ok && std::has_single_bit(options.around) && (!options.huge || page == kHugePage);
}

int mmap_flags(const MapOptions& options) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  // Huge pages are reserved now: running out of them at a fault could only be SIGBUS.
  flags |= options.huge ? MAP_HUGETLB | (21 << MAP_HUGE_SHIFT) : MAP_NORESERVE;
  if (options.address != nullptr) flags |= MAP_FIXED_NOREPLACE;
  return flags;
}

// Maps `length` bytes, aligned to `alignment` where the address is ours to choose.
Result<PageRange> map_memory(const MapOptions& options, std::size_t length, std::size_t alignment) {
  const bool align = options.address == nullptr && !options.huge && alignment > base::page_size();
  const std::size_t mapped = align ? length + alignment : length;
  const auto memory =
      memory::map(mapped, {.protection = PROT_READ, .flags = mmap_flags(options), .start = address_of(options)});
  if (!memory) return memory;
  if (options.address != nullptr && memory->start != address_of(options)) {
    // A kernel before 4.17 takes MAP_FIXED_NOREPLACE for a hint.
    (void)memory::unmap(*memory);
    return map_error(EEXIST, options, length);
  }
  if (!align) return memory;
  const std::uintptr_t aligned = (memory->start + alignment - 1) & ~(alignment - 1);
  if (aligned > memory->start) (void)memory::unmap({memory->start, aligned - memory->start});
  const std::size_t behind = memory->end() - (aligned + length);
  if (behind > 0) (void)memory::unmap({aligned + length, behind});
  return PageRange{aligned, length};
}

}  // namespace

Region::Region(const Descriptor& descriptor, std::shared_ptr<Store> store, const MapOptions& options, PageRange range,
               std::size_t page_size, std::size_t most_bytes)
    : descriptor_(descriptor),
      store_(std::move(store)),
      range_(range),
      page_size_(page_size),
      hardware_page_(options.huge ? kHugePage : base::page_size()),
      around_(std::max<std::size_t>(1, std::min(options.around, most_bytes / page_size))),
      detect_streams_(options.detect_streams),
      states_(range.length / page_size),
      streams_({.window = std::max<std::size_t>(1, most_bytes / page_size),
                .ahead = std::max<std::size_t>(1, kAheadBytes / page_size)}) {}

Region::~Region() { unmap(); }

Result<std::shared_ptr<Region>> Region::map(const Descriptor& descriptor, std::shared_ptr<Store> store,
                                            const MapOptions& options, std::size_t most_bytes) {
  const std::size_t page = options.page_size != 0 ? options.page_size : options.huge ? kHugePage : base::page_size();
  if (store == nullptr || store->size() == 0 || !good_options(options, page)) return map_error(EINVAL, options, 0);
  if (store->size() > (std::uint64_t{1} << 62)) return map_error(ENOMEM, options, 0);
  const auto length = static_cast<std::size_t>((store->size() + page - 1) & ~(std::uint64_t{page} - 1));
  const auto range = map_memory(options, length, page);
  if (!range) return std::unexpected(range.error());
  std::shared_ptr<Region> region(new Region(descriptor, std::move(store), options, *range, page, most_bytes));
  if (!region->states_.valid()) return map_error(ENOMEM, options, length);
  const auto operations = descriptor.register_range(*range, mode::kMissing);
  if (!operations) return std::unexpected(operations.error());
  // A forked child's memory is registered nowhere: missing pages would read as zeroes there.
  if (const auto advised = memory::advise(*range, MADV_DONTFORK); !advised) return std::unexpected(advised.error());
  region->can_zero_ = operations->has(operation::kZeropage);
  return region;
}

void Region::unmap() noexcept {
  if (range_.length == 0) return;
  (void)memory::unmap(range_);
  // Nothing else wakes a thread that waits for a page of memory that is gone.
  (void)descriptor_.wake(range_);
  range_.length = 0;
}

RetryPolicy Region::retry() const noexcept { return {.page_size = hardware_page_}; }

std::size_t Region::stored_bytes(PageSpan span) const noexcept {
  const std::uint64_t size = store_->size();
  const std::uint64_t offset = offset_of(span.first);
  const std::uint64_t length = static_cast<std::uint64_t>(span.count) * page_size_;
  return offset >= size ? 0 : static_cast<std::size_t>(std::min(length, size - offset));
}

std::size_t Region::claim_upwards(std::size_t first, std::size_t most) noexcept {
  std::size_t count = 0;
  while (count < most && first + count < pages() && states_.claim(first + count)) ++count;
  return count;
}

std::size_t Region::claim_downwards(std::size_t end, std::size_t most) noexcept {
  std::size_t count = 0;
  while (count < most && count < end && states_.claim(end - count - 1)) ++count;
  return count;
}

// ENOENT also means that the program has split the mapping (mprotect), replaced or unmapped a part
// of it (real-kernel row 31). Then each hardware page is done alone, and those that are no longer
// ours need nothing.
template <typename Once>
Result<void> Region::piecewise(PageRange range, Once once) const {
  Result<Transfer> done = once(range, 0);
  if (done) return {};
  if (done.error().code != ENOENT) return std::unexpected(done.error());
  for (std::size_t at = 0; at < range.length; at += hardware_page_) {
    done = once({range.start + at, hardware_page_}, at);
    if (!done && done.error().code != ENOENT) return std::unexpected(done.error());
  }
  (void)descriptor_.wake(range);
  return {};
}

Result<void> Region::install(PageSpan span, const std::byte* bytes) const {
  return piecewise(range_of(span), [&](PageRange part, std::size_t at) {
    return descriptor_.copy_fully(part, bytes + at, {}, retry());
  });
}

Result<void> Region::install_zeroes(PageSpan span) const {
  return piecewise(range_of(span),
                   [&](PageRange part, std::size_t) { return descriptor_.zeropage_fully(part, retry()); });
}

void Region::poison(std::size_t page) const { poison_range(descriptor_, range_of({page, 1}), retry()); }

void Region::wake(PageSpan span) const { (void)descriptor_.wake(range_of(span)); }

bool Region::surely_present(std::uintptr_t address) const {
  // mincore(2) tells for the kernel's engine; ours keeps what is missing in ways that it cannot see.
  if (descriptor_.engine() != EngineKind::kKernel) return false;
  const PageRange page{address & ~(base::page_size() - 1), base::page_size()};
  unsigned char there = 0;
  return ::mincore(page.data(), page.length, &there) == 0 && (there & 1) != 0;
}

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
#include "pager/region.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/last_error.h"
#include "base/page_size.h"
#include "pager/sizes.h"
#include "userfault/memory.h"

namespace userfault::pager {
namespace {

std::uintptr_t address_of(const MapOptions& options) { return PageRange::of(options.address, 0).start; }

Unexpected<Error> map_error(int code, const MapOptions& options, std::size_t length) {
  return Unexpected(
      Error{.operation = Operation::kMap, .code = code, .address = address_of(options), .length = length});
}

bool good_options(const MapOptions& options, std::size_t page) {
  const bool page_ok = std::has_single_bit(page) && page >= base::page_size() && page <= kHugePage;
  const bool address_ok = address_of(options) % base::page_size() == 0;
  return page_ok && address_ok && std::has_single_bit(options.around) && (!options.huge || page == kHugePage);
}

constexpr int kHugeFlags = MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);

int mmap_flags(const MapOptions& options, bool managed) {
  int flags = managed ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  // Huge pages are reserved now: running out of them at a fault could only be SIGBUS.
  if (!options.huge) flags |= MAP_NORESERVE;
  if (options.huge && !managed) flags |= kHugeFlags;
  if (options.address != nullptr) flags |= MAP_FIXED_NOREPLACE;
  return flags;
}

// The memory that a managed region's pages are in; 0 or a positive errno.
int make_object(base::Fd& object, const MapOptions& options, std::size_t length) {
  const unsigned huge = options.huge ? MFD_HUGETLB | (21u << MAP_HUGE_SHIFT) : 0;
  object = base::Fd(::memfd_create("userfault-pager", MFD_CLOEXEC | huge));
  if (!object.valid() || ::ftruncate(object.get(), static_cast<off_t>(length)) != 0) return base::last_error();
  return 0;
}

// Maps `length` bytes, aligned to `alignment` where the caller left the address open.
Result<PageRange> map_memory(const MapOptions& options, const base::Fd& object, std::size_t length,
                             std::size_t alignment) {
  const bool align = options.address == nullptr && !options.huge && alignment > base::page_size();
  const std::size_t mapped = align ? length + alignment : length;
  // Without access until it is registered: mlockall(MCL_FUTURE) would fill it with zeroes before.
  const auto memory = memory::map(mapped, {.protection = PROT_NONE,
                                           .flags = mmap_flags(options, object.valid()),
                                           .fd = object.get(),
                                           .start = address_of(options)});
  if (!memory) return memory;
  if (options.address != nullptr && memory->start != address_of(options)) {
    // A kernel before 4.17 takes MAP_FIXED_NOREPLACE for a hint.
    (void)memory::unmap(*memory);
    return map_error(EEXIST, options, length);
  }
  if (!align) return memory;
  const std::uintptr_t aligned = (memory->start + alignment - 1) & ~(alignment - 1);
  const PageRange range{aligned, length};
  if (object.valid() && aligned != memory->start) {
    // The object's beginning belongs at the aligned address.
    (void)memory::unmap(*memory);
    MapOptions there = options;
    there.address = range.data();
    return map_memory(there, object, length, alignment);
  }
  if (aligned > memory->start) (void)memory::unmap({memory->start, aligned - memory->start});
  const std::size_t behind = memory->end() - range.end();
  if (behind > 0) (void)memory::unmap({range.end(), behind});
  return range;
}

}  // namespace

Region::Region(const Descriptor& descriptor, std::shared_ptr<Store> store, const MapOptions& options, PageRange range,
               std::size_t page_size, const RegionLimits& limits, UseEnded& use_ended, base::Fd object)
    : descriptor_(descriptor),
      store_(std::move(store)),
      range_(range),
      page_size_(page_size),
      hardware_page_(options.huge ? kHugePage : base::page_size()),
      around_(std::max<std::size_t>(1, std::bit_floor(std::min(options.around, limits.window / page_size)))),
      detect_streams_(options.detect_streams),
      writable_(options.writable),
      maps_(!options.writable && !options.huge && store_->file(0, 1).fd >= 0),
      scans_(options.writable && limits.scans),
      object_(std::move(object)),
      states_(range.length / page_size),
      streams_({.window = std::max<std::size_t>(1, limits.window / page_size),
                .ahead = std::max<std::size_t>(1, limits.ahead / page_size),
                .leap = maps_ ? limits.leap / page_size : 0}),
      uses_(use_ended) {
  USERFAULT_CHECK(range.length % page_size == 0, "a region ends in the middle of a page");
}

Region::~Region() { unmap(); }

Result<std::shared_ptr<Region>> Region::map(const Descriptor& descriptor, std::shared_ptr<Store> store,
                                            const MapOptions& options, const RegionLimits& limits,
                                            UseEnded& use_ended) {
  const std::size_t page = options.page_size != 0 ? options.page_size : options.huge ? kHugePage : base::page_size();
  if (store == nullptr || store->size() == 0 || !good_options(options, page)) return map_error(EINVAL, options, 0);
  if (store->size() > (std::uint64_t{1} << 62)) return map_error(ENOMEM, options, 0);
  if (options.writable && !store->writable()) return map_error(EROFS, options, 0);
  const auto length = static_cast<std::size_t>((store->size() + page - 1) & ~(std::uint64_t{page} - 1));
  // Where a file's huge pages may be mapped as such.
  const bool maps_well = length >= kHugePage && store->file(0, 1).fd >= 0;
  base::Fd object;
  if (const int code = limits.managed || options.writable ? make_object(object, options, length) : 0; code != 0)
    return map_error(code, options, length);
  const auto range = map_memory(options, object, length, maps_well ? kHugePage : page);
  if (!range) return Unexpected(range.error());
  const bool managed = object.valid();
  std::shared_ptr<Region> region(
      new Region(descriptor, std::move(store), options, *range, page, limits, use_ended, std::move(object)));
  if (!region->states_.valid()) return map_error(ENOMEM, options, length);
  if (const auto enlisted = region->enlist(managed); !enlisted) return Unexpected(enlisted.error());
  return region;
}

Result<void> Region::enlist(bool managed) {
  Modes modes = mode::kMissing;
  if (managed) modes |= mode::kMinor;
  if (writable_) modes |= mode::kWriteProtect;
  // What is locked cannot be taken out of memory again.
  (void)::munlock(range_.data(), range_.length);
  const auto operations = descriptor_.register_range(range_, modes);
  if (!operations) {
    Error error = operations.error();
    // Nothing else can be wrong with memory that was made a moment ago.
    if (managed && error.code == EINVAL) error.code = ENOTSUP;
    return Unexpected(error);
  }
  // Filling with zeroes cannot protect at the same time.
  can_zero_ = operations->has(operation::kZeropage) && !writable_;
  // A forked child's memory is registered nowhere: missing pages would read as zeroes there.
  if (auto advised = memory::advise(range_, MADV_DONTFORK); !advised) return advised;
  return memory::protect(range_, writable_ ? PROT_READ | PROT_WRITE : PROT_READ);
}

void Region::unmap() noexcept {
  if (range_.length == 0) return;
  USERFAULT_CHECK(!in_use(), "a region is unmapped while a thread works on it");
  (void)memory::unmap(range_);
  // Nothing else wakes a thread that waits for a page of memory that is gone.
  (void)descriptor_.wake(range_);
  range_.length = 0;
}

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

}  // namespace userfault::pager

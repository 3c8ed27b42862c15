// SPDX-License-Identifier: Apache-2.0
#include "userfault/region.h"

#include <sys/mman.h>

#include <bit>
#include <cerrno>

#include "base/page_size.h"
#include "engine/engine.h"
#include "userfault/memory.h"

namespace userfault {
namespace {

// mmap(2): the flags word holds the logarithm of the huge page's size.
constexpr int kHugeShift = 26;

Result<PageRange> map_for(std::size_t length, std::size_t page, const RegionOptions& options) {
  if (length == 0 || !std::has_single_bit(page) || length > SIZE_MAX - page)
    return Unexpected(Error{.operation = Operation::kMap, .code = EINVAL, .length = length});
  const std::size_t whole = (length + page - 1) & ~(page - 1);
  const int huge =
      options.huge_page_size != 0 ? MAP_HUGETLB | (std::countr_zero(options.huge_page_size) << kHugeShift) : 0;
  return memory::map(whole, {.protection = PROT_READ | (options.writable ? PROT_WRITE : 0),
                             .flags = MAP_ANONYMOUS | (options.shared ? MAP_SHARED : MAP_PRIVATE) | huge});
}

}  // namespace

Result<Region> Region::create(const Descriptor& descriptor, std::size_t length, const RegionOptions& options) {
  const std::size_t page = options.huge_page_size != 0 ? options.huge_page_size : base::page_size();
  const auto mapped = map_for(length, page, options);
  if (!mapped) return Unexpected(mapped.error());
  Region region(descriptor, *mapped, page, true);
  const auto operations = descriptor.register_range(*mapped, options.modes);
  if (!operations) return Unexpected(operations.error());
  region.registered_ = true;
  region.operations_ = *operations;
  return region;
}

Result<Region> Region::borrow(const Descriptor& descriptor, PageRange range, Modes modes, std::size_t page_size) {
  const auto operations = descriptor.register_range(range, modes);
  if (!operations) return Unexpected(operations.error());
  Region region(descriptor, range, page_size != 0 ? page_size : base::page_size(), false);
  region.registered_ = true;
  region.operations_ = *operations;
  return region;
}

Region::Region(Region&& other) noexcept
    : fd_(other.fd_),
      range_(std::exchange(other.range_, {})),
      page_size_(other.page_size_),
      operations_(other.operations_),
      owned_(std::exchange(other.owned_, false)),
      registered_(std::exchange(other.registered_, false)) {}

Region& Region::operator=(Region&& other) noexcept {
  if (this == &other) return *this;
  static_cast<void>(close());
  fd_ = other.fd_;
  range_ = std::exchange(other.range_, {});
  page_size_ = other.page_size_;
  operations_ = other.operations_;
  owned_ = std::exchange(other.owned_, false);
  registered_ = std::exchange(other.registered_, false);
  return *this;
}

// What can go wrong here went wrong before (somebody unmapped or unregistered it): close() tells.
Region::~Region() { static_cast<void>(close()); }

Result<void> Region::close() noexcept {
  Result<void> result;
  if (std::exchange(registered_, false)) {
    userfault_range argument{range_.start, range_.length};
    const int code = engine::engine_of(fd_).operate(fd_, USERFAULT_IOC_UNREGISTER, &argument);
    if (code < 0)
      result = Unexpected(
          Error{.operation = Operation::kUnregister, .code = -code, .address = range_.start, .length = range_.length});
  }
  if (std::exchange(owned_, false)) {
    const Result<void> unmapped = memory::unmap(range_);
    if (result) result = unmapped;
  }
  range_ = {};
  return result;
}

PageRange Region::release() noexcept {
  owned_ = false;
  registered_ = false;
  return std::exchange(range_, {});
}

}  // namespace userfault

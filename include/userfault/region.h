// SPDX-License-Identifier: Apache-2.0
// Region: memory registered with a Descriptor, for as long as the Region lives.
//
// Ownership: create() maps memory and owns it; borrow() registers memory of somebody else. Both
// unregister on destruction, and create()'s is unmapped afterwards, in that order: the range is no
// longer registered when it goes, so no layout event is raised that the destroying thread might
// have to read itself. Threads that wait in the range go on when it is unregistered.
// A Region does not own the Descriptor and should be destroyed before it; it may be moved. (Closing
// the Descriptor first is harmless: that ends the registration.)
// Threads: as for a value; nothing may use the memory when it is destroyed.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "userfault/descriptor.h"
#include "userfault/error.h"
#include "userfault/export.h"
#include "userfault/features.h"
#include "userfault/range.h"

namespace userfault {

struct RegionOptions {
  Modes modes = mode::kMissing;
  bool shared = false;             // MAP_SHARED|MAP_ANONYMOUS instead of private memory
  bool writable = true;            // PROT_READ|PROT_WRITE instead of PROT_READ
  std::size_t huge_page_size = 0;  // bytes, a power of two the machine has (2 MiB): hugetlb memory
};

class USERFAULT_EXPORT Region {
 public:
  // Maps `length` bytes (rounded up to whole pages) and registers them. Errors: those of
  // memory::map (EINVAL also: length 0 or a huge page size that is none; ENOMEM also: too few free
  // huge pages, see vm.nr_hugepages) and of Descriptor::register_range.
  [[nodiscard]] static Result<Region> create(const Descriptor& descriptor, std::size_t length,
                                             const RegionOptions& options = {});
  // Registers memory that is mapped and stays somebody else's. `page_size` is the mapping's in
  // bytes, 0 for the system's. Errors: those of Descriptor::register_range.
  [[nodiscard]] static Result<Region> borrow(const Descriptor& descriptor, PageRange range,
                                             Modes modes = mode::kMissing, std::size_t page_size = 0);

  Region(Region&& other) noexcept;
  Region& operator=(Region&& other) noexcept;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  [[nodiscard]] PageRange range() const noexcept { return range_; }
  [[nodiscard]] std::size_t size() const noexcept { return range_.length; }     // bytes
  [[nodiscard]] std::size_t page_size() const noexcept { return page_size_; }   // bytes
  [[nodiscard]] Operations operations() const noexcept { return operations_; }  // what REGISTER said
  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(range_.data()); }
  // The page that holds `address`, which must be in range().
  [[nodiscard]] PageRange page_of(std::uintptr_t address) const noexcept {
    return {range_.start + (address - range_.start) / page_size_ * page_size_, page_size_};
  }
  // A RetryPolicy that steps over present pages of this region's size.
  [[nodiscard]] RetryPolicy retry_policy() const noexcept { return {.page_size = page_size_}; }

  // Unregisters (and unmaps) now instead of at destruction, and says what went wrong. The Region is
  // empty afterwards in any case. EINVAL: the registration or the mapping changed meanwhile.
  [[nodiscard]] Result<void> close() noexcept;
  // Leaves the memory mapped and registered and returns its range; the Region is empty afterwards.
  [[nodiscard]] PageRange release() noexcept;

 private:
  Region(const Descriptor& descriptor, PageRange range, std::size_t page_size, bool owned) noexcept
      : fd_(descriptor.fd()), range_(range), page_size_(page_size), owned_(owned) {}

  int fd_ = -1;  // a number, not a Descriptor*: Descriptors move
  PageRange range_{};
  std::size_t page_size_ = 0;
  Operations operations_{};
  bool owned_ = false;
  bool registered_ = false;
};

}  // namespace userfault

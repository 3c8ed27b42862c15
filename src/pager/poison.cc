// SPDX-License-Identifier: Apache-2.0
#include "pager/poison.h"

#include <sys/mman.h>

#include "base/fd.h"
#include "userfault/userfault.h"

namespace userfault::pager {

void poison_range(const Descriptor& descriptor, PageRange range, const RetryPolicy& policy) {
  if (descriptor.features().has(feature::kPoison) && descriptor.poison_fully(range, policy)) return;
  poison_by_mapping(descriptor, range);
}

void poison_by_mapping(const Descriptor& descriptor, PageRange range) {
  const base::Fd empty(::memfd_create("userfault-poison", MFD_CLOEXEC));
  const void* const mapped = empty.valid() ? ::userfault_mmap(range.data(), range.length, PROT_READ | PROT_WRITE,
                                                              MAP_SHARED | MAP_FIXED, empty.get(), 0)
                                           : MAP_FAILED;
  // Fail closed: no memory is better than memory that reads as zeroes.
  if (mapped == MAP_FAILED) (void)::userfault_munmap(range.data(), range.length);
  (void)descriptor.wake(range);
}

}  // namespace userfault::pager

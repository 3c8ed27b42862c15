// SPDX-License-Identifier: Apache-2.0
#include "pager/poison.h"

#include <sys/mman.h>

#include "base/fd.h"
#include "userfault/memory.h"

namespace userfault::pager {

void poison_range(const Descriptor& descriptor, PageRange range, const RetryPolicy& policy) {
  if (descriptor.features().has(feature::kPoison) && descriptor.poison_fully(range, policy)) return;
  poison_by_mapping(descriptor, range);
}

void poison_by_mapping(const Descriptor& descriptor, PageRange range) {
  const base::Fd empty(::memfd_create("userfault-poison", MFD_CLOEXEC));
  const memory::MapOptions over{
      .protection = PROT_READ | PROT_WRITE, .flags = MAP_SHARED | MAP_FIXED, .fd = empty.get(), .start = range.start};
  // Fail closed: no memory is better than memory that reads as zeroes.
  if (!empty.valid() || !memory::map(range.length, over)) (void)memory::unmap(range);
  (void)descriptor.wake(range);
}

}  // namespace userfault::pager

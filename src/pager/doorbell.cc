// SPDX-License-Identifier: Apache-2.0
#include "pager/doorbell.h"

#include <sys/mman.h>

#include <cerrno>

#include "base/check.h"
#include "base/page_size.h"
#include "userfault/memory.h"

namespace userfault::pager {

Doorbell::Doorbell() noexcept : page_(base::OwnedMapping::anonymous(base::page_size())) {}

// The user engine has to hear of it before the address can belong to anything else.
Doorbell::~Doorbell() {
  if (!page_.valid()) return;
  const PageRange range = this->range();
  (void)page_.release();
  (void)memory::unmap(range);
}

Result<void> Doorbell::install(const Descriptor& descriptor) {
  if (!page_.valid())
    return Unexpected(Error{.operation = Operation::kOpen, .code = ENOMEM, .refused_by = Refuser::kLimit});
  if (const auto registered = descriptor.register_range(range(), mode::kMissing); !registered)
    return Unexpected(registered.error());
  // Under mlockall(MCL_FUTURE) it is there already, and could not ring.
  (void)::munlock(page_.data(), page_.length());
  return memory::advise(range(), MADV_DONTNEED);
}

void Doorbell::ring() const noexcept {
  const volatile std::byte* const page = page_.data();
  (void)*page;
  USERFAULT_CHECK(rung_, "the doorbell is answered by no worker");
}

// Marked first: the thread that rang looks when it runs again.
void Doorbell::answer(const Descriptor& descriptor) noexcept {
  rung_ = true;
  (void)descriptor.zeropage_fully(range());
}

}  // namespace userfault::pager

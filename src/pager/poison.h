// SPDX-License-Identifier: Apache-2.0
// The page that a store could not give: touching it must be SIGBUS, on every kernel.
#pragma once

#include "userfault/descriptor.h"

namespace userfault::pager {

// UFFDIO_POISON (Linux 6.6), or, where that is not to be had, poison_by_mapping(). Wakes the threads that wait.
void poison_range(const Descriptor& descriptor, PageRange range, const RetryPolicy& policy);

// Replaces the range with a mapping of an empty file: any access lies behind the file's end and is
// SIGBUS (mmap(2)). Where not even that works, with nothing at all: SIGSEGV. Wakes the threads that wait.
void poison_by_mapping(const Descriptor& descriptor, PageRange range);

}  // namespace userfault::pager

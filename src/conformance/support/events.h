// SPDX-License-Identifier: Apache-2.0
// Layout events: what is expected of a message, and a place to move memory to.
#pragma once

#include <cstddef>

#include "support/mapping.h"
#include "support/uffd.h"

namespace userfault::conformance {

// The next message is that event, about exactly this range.
void expect_removed(const Uffd& uffd, Range range);
void expect_unmapped(const Uffd& uffd, Range range);
void expect_remapped(const Uffd& uffd, Range from, const void* to);
// The next message is EVENT_FORK: the child's descriptor.
[[nodiscard]] Uffd expect_forked(const Uffd& uffd);

// Addresses that nothing else is at, for MAP_FIXED and MREMAP_FIXED; aligned for huge pages.
[[nodiscard]] char* reserve(std::size_t bytes);

// Page `index` of the mapping holds the pattern `seed`: filled by COPY, so that it is present.
void fill_page(const Uffd& uffd, const Mapping& map, std::size_t index, std::uint64_t seed);

// Nothing is mapped there.
[[nodiscard]] bool is_unmapped(const void* page);

}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// How much is done at once, in bytes.
#pragma once

#include <cstddef>

namespace userfault::pager {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// The most bytes of one fill, unless one page is larger: what fits the second-level cache twice.
constexpr std::size_t kFillBytes = std::size_t{256} << 10;
// The same of pages that are mapped and not copied: a walk that catches up with what is mapped faults.
constexpr std::size_t kMapBytes = std::size_t{64} << 20;
// The buffer of one read from the store: enough for one page of any size.
constexpr std::size_t kStagingBytes = kHugePage;
// The buffer of one thread that writes: enough for a run of any size.
constexpr std::size_t kWriteBytes = kHugePage;

// From here on it is worth a mapping of the process to show the store's own file (docs/performance.md).
constexpr std::size_t kLeastMapped = std::size_t{64} << 10;
// From here on the user engine's COPY does not map what it copies (docs/performance-user-engine.md).
constexpr std::size_t kLongCopy = std::size_t{256} << 10;

}  // namespace userfault::pager

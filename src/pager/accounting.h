// SPDX-License-Identifier: Apache-2.0
// What is counted twice, for a region and for all of them: memory that is resident, memory that is dirty.
// The caller owns the pages.
#pragma once

#include <cstdint>

#include "pager/budget.h"
#include "pager/counters.h"

namespace userfault::pager {

inline void add_resident(Counters& counters, Budget& budget, std::uint64_t bytes) noexcept {
  counters.resident_bytes.add(bytes);
  budget.add_resident(bytes);
}
inline void subtract_resident(Counters& counters, Budget& budget, std::uint64_t bytes) noexcept {
  counters.resident_bytes.subtract(bytes);
  budget.subtract_resident(bytes);
}
inline void add_dirty(Counters& counters, Budget& budget, std::uint64_t bytes) noexcept {
  counters.dirty_bytes.add(bytes);
  budget.add_dirty(bytes);
}
inline void subtract_dirty(Counters& counters, Budget& budget, std::uint64_t bytes) noexcept {
  counters.dirty_bytes.subtract(bytes);
  budget.subtract_dirty(bytes);
}

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// The operations as a table, for what holds for all of them: argument checks, exited processes,
// pending events, partial results.
#pragma once

#include <cstdint>
#include <vector>

#include "support/mapping.h"
#include "support/uffd.h"

namespace userfault::conformance {

// One that fills pages and has an output field: COPY, ZEROPAGE, CONTINUE, POISON, MOVE.
struct Filling {
  const char* name;
  unsigned long request;
  std::uint64_t modes;         // what its range has to be registered for
  std::uint64_t dontwake;      // its mode bit
  std::uint64_t unknown_mode;  // the lowest bit that is none of its modes
  Outcome (*call)(const Uffd& uffd, Range range, const void* source, std::uint64_t mode);
};

// Those that the context's backing and the engine's features word have.
[[nodiscard]] std::vector<Filling> fillings(const Context& context);

// Memory on which each of them succeeds: `map` is registered for the operation; `source` is as
// large as the map, aligned, and filled with pattern 1 + page number; for CONTINUE the map's memory
// holds the same without being mapped.
struct Ground {
  Ground(const Context& context, const Uffd& uffd, const Filling& filling, std::size_t pages);

  Mapping map;
  char* source;
  const Filling& filling;

  [[nodiscard]] Outcome call(const Uffd& uffd, std::size_t first, std::size_t count, std::uint64_t mode = 0) const;
  [[nodiscard]] Outcome call(const Uffd& uffd, Range range, std::uint64_t mode = 0) const;
  // The page holds what the operation puts there.
  void expect_filled(std::size_t page) const;
  // The page is as before: a read of it blocks, and gets what it should when it is resolved.
  void expect_still_missing(const Uffd& uffd, std::size_t page) const;
};

}  // namespace userfault::conformance

// SPDX-License-Identifier: Apache-2.0
// Random sequences of operations, accesses and layout changes for the differential test.
//
// A sequence is a plain value, made from a source of choices (a seed, or a fuzzer's bytes), so that
// it can be run again, shortened, and printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "support/run.h"

namespace userfault::stress {

// Where the next choice comes from.
class Choices {
 public:
  explicit Choices(std::uint64_t seed) : random_(seed) {}
  explicit Choices(std::span<const unsigned char> bytes) : random_(0), bytes_(bytes), from_bytes_(true) {}
  std::uint64_t below(std::uint64_t limit);
  bool chance(unsigned percent) { return below(100) < percent; }
  // A fuzzer's bytes have been used up.
  [[nodiscard]] bool exhausted() const { return from_bytes_ && bytes_.empty(); }

 private:
  Random random_;
  std::span<const unsigned char> bytes_;
  bool from_bytes_ = false;
};

enum class Kind : std::uint8_t {
  kRegister, kUnregister, kCopy, kZeropage, kContinue, kPoison, kMove, kWriteprotect, kWake,
  kRead, kWrite, kWriteAlias, kMadvise, kMprotect, kMunmap, kMmap, kMremap, kScan,
};

// Addresses are bytes from the start of the arena, the same in both worlds.
struct Operation {
  Kind kind = Kind::kRead;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  std::uint64_t source = 0;
  std::uint64_t mode = 0;  // of the operation; advice, protection or flags of a layout change
  unsigned thread = 0;     // who makes an access
  std::uint64_t tag = 0;   // what is written or copied
};

struct Sequence {
  std::uint64_t features = 0;
  std::vector<Operation> operations;
};

// The arena, in pages: what is mapped at the start of every sequence. The rest is holes.
struct Region {
  const char* name;
  std::size_t first;
  std::size_t count;
};
inline constexpr Region kPrivateRegion{"private", 0, 12};
inline constexpr Region kSharedRegion{"shared", 14, 12};
inline constexpr Region kMemfdRegion{"memfd", 28, 12};
inline constexpr Region kPlainRegion{"plain", 42, 8};
inline constexpr Region kRegions[] = {kPrivateRegion, kSharedRegion, kMemfdRegion, kPlainRegion};
inline constexpr std::size_t kArenaPages = 80;
inline constexpr std::size_t kScratchPage = 56;

[[nodiscard]] Sequence make_sequence(Choices& choices);
[[nodiscard]] std::string to_string(const Operation& operation);
[[nodiscard]] std::string to_string(const Sequence& sequence);

}  // namespace userfault::stress

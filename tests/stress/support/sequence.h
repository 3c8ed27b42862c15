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
  kRegister,
  kUnregister,
  kCopy,
  kZeropage,
  kContinue,
  kPoison,
  kMove,
  kWriteprotect,
  kWake,
  kRead,
  kWrite,
  kWriteAlias,
  kMadvise,
  kMprotect,
  kMunmap,
  kMmap,
  kMremap,
  kScan,
  kReopen,
  kFork,
};

inline constexpr std::size_t kDescriptors = 2;
inline constexpr std::uint64_t kScanQuestions = 6;

// Addresses are bytes from the start of the arena, the same in both worlds.
struct Operation {
  Kind kind = Kind::kRead;
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  std::uint64_t source = 0;  // of a scan: which question
  std::uint64_t mode = 0;    // of the operation; advice, protection or flags of a layout change
  unsigned thread = 0;       // who makes an access
  std::size_t descriptor = 0;
  std::uint64_t tag = 0;  // what is written or copied
};

struct Sequence {
  std::uint64_t features[kDescriptors] = {};
  bool huge = false;  // the arena is of huge pages
  std::vector<Operation> operations;
};

// The arena, in pages: what is mapped at the start of every sequence. The rest is holes.
struct Region {
  const char* name;
  std::size_t first;
  std::size_t count;
};
struct Arena {
  std::size_t page;  // in bytes
  Region own;        // private
  Region shared;
  Region memfd;
  Region plain;  // private, every other page written
  std::size_t pages;
  Region scratch;  // where mremap goes
  [[nodiscard]] constexpr const Region& region(std::size_t i) const {
    return i == 0 ? own : i == 1 ? shared : i == 2 ? memfd : plain;
  }
};
inline constexpr std::size_t kArenaRegions = 4;
inline constexpr std::size_t kMostArenaPages = 80;
inline constexpr Arena kSmallArena{kPage, {"private", 0, 12}, {"shared", 14, 12}, {"memfd", 28, 12}, {"plain", 42, 8},
                                   80,    {"scratch", 56, 16}};
inline constexpr Arena kHugeArena{std::size_t{2} << 20, {"private", 0, 2}, {"shared", 3, 2},
                                  {"memfd", 6, 2},      {"plain", 9, 2},   18,
                                  {"scratch", 12, 3}};
[[nodiscard]] constexpr const Arena& arena_of(bool huge) { return huge ? kHugeArena : kSmallArena; }

[[nodiscard]] Sequence make_sequence(Choices& choices);
[[nodiscard]] std::string to_string(const Operation& operation, const Arena& arena);
[[nodiscard]] std::string to_string(const Sequence& sequence);

}  // namespace userfault::stress

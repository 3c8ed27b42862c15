// SPDX-License-Identifier: Apache-2.0
#include "support/sequence.h"

#include <sys/mman.h>

#include <cstdio>
#include <iterator>

namespace userfault::stress {
namespace {

constexpr std::uint64_t kFeatureChoices[] = {
    0,
    0,
    USERFAULT_FEATURE_WP_UNPOPULATED,
    USERFAULT_FEATURE_EXACT_ADDRESS | USERFAULT_FEATURE_THREAD_ID,
    USERFAULT_FEATURE_SIGBUS,
    USERFAULT_FEATURE_EVENT_REMOVE | USERFAULT_FEATURE_EVENT_UNMAP,
    USERFAULT_FEATURE_EVENT_REMAP | USERFAULT_FEATURE_WP_UNPOPULATED,
    USERFAULT_FEATURE_WP_ASYNC,
    USERFAULT_FEATURE_EVENT_FORK,
    USERFAULT_FEATURE_EVENT_FORK | USERFAULT_FEATURE_WP_UNPOPULATED | USERFAULT_FEATURE_EVENT_REMAP,
};

constexpr Kind kKindChoices[] = {
    Kind::kRegister, Kind::kRegister,   Kind::kUnregister, Kind::kCopy,     Kind::kCopy,         Kind::kCopy,
    Kind::kZeropage, Kind::kContinue,   Kind::kPoison,     Kind::kMove,     Kind::kWriteprotect, Kind::kWriteprotect,
    Kind::kWake,     Kind::kRead,       Kind::kRead,       Kind::kRead,     Kind::kWrite,        Kind::kWrite,
    Kind::kWrite,    Kind::kWriteAlias, Kind::kMadvise,    Kind::kMprotect, Kind::kMunmap,       Kind::kMmap,
    Kind::kMremap,   Kind::kScan,       Kind::kFork,
};

constexpr int kAdvice[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_REMOVE, MADV_REMOVE, MADV_WILLNEED, 77};
constexpr int kProtections[] = {PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};

struct Range {
  std::uint64_t start;
  std::uint64_t length;
};

// Half of the sequences keep to a few pages of one region and to some kinds of operations, so that one
// thing comes after another on the same page.
struct Focus {
  Region pages{};  // none when `count` is 0
  std::uint64_t kinds = ~std::uint64_t{0};
};

Focus choose_focus(Choices& choices, const Arena& arena) {
  Focus focus;
  if (choices.chance(50)) return focus;
  const Region& region = arena.region(choices.below(kArenaRegions));
  const std::size_t first = choices.below(region.count);
  const std::size_t count = 1 + choices.below(3);
  focus.pages = {region.name, region.first + first, count < region.count - first ? count : region.count - first};
  // A byte at a time, which is what a fuzzer has.
  focus.kinds = 0;
  for (unsigned bits = 0; bits < 24; bits += 8) focus.kinds |= choices.below(256) << bits;
  return focus;
}

Kind choose_kind(Choices& choices, const Focus& focus) {
  Kind kind = Kind::kRegister;
  for (int tries = 0; tries < 8; ++tries) {
    kind = kKindChoices[choices.below(std::size(kKindChoices))];
    if ((focus.kinds >> static_cast<unsigned>(kind) & 1) != 0) break;
  }
  return kind;
}

// Mostly some pages of one region, sometimes over its end, sometimes nonsense.
Range choose_range(Choices& choices, const Arena& arena, const Focus& focus, bool whole_often) {
  const bool focused = focus.pages.count != 0 && choices.chance(90);
  const Region& region = focused ? focus.pages : arena.region(choices.below(kArenaRegions));
  if (whole_often && choices.chance(50)) return {region.first * arena.page, region.count * arena.page};
  const std::uint64_t first = region.first + choices.below(region.count);
  std::uint64_t count = 1 + choices.below(4);
  if (choices.chance(90) && first + count > region.first + region.count) count = region.first + region.count - first;
  Range range{first * arena.page, count * arena.page};
  if (choices.chance(2)) range.start += 8;
  if (choices.chance(2)) range.length -= 1;
  if (choices.chance(1)) range.length = 0;
  // A part of a huge page.
  if (arena.page != kPage && choices.chance(5)) range.start += kPage;
  if (arena.page != kPage && choices.chance(5)) range.length = kPage;
  return range;
}

std::uint64_t choose_mode(Choices& choices, std::uint64_t valid) {
  const std::uint64_t mode = choices.below(valid + 1);
  return choices.chance(2) ? mode | 0x80 : mode;
}

std::uint64_t choose_register_mode(Choices& choices) {
  constexpr std::uint64_t kModes[] = {1, 1, 1, 3, 3, 2, 4, 5, 7, 0, 8};
  return kModes[choices.below(choices.chance(95) ? 9 : std::size(kModes))];
}

void choose_details(Choices& choices, const Arena& arena, const Focus& focus, Operation& operation) {
  switch (operation.kind) {
    case Kind::kRegister: operation.mode = choose_register_mode(choices); break;
    case Kind::kCopy:
    case Kind::kContinue:
      operation.mode = choose_mode(choices, 3);
      if (choices.chance(3)) operation.source = 1;
      break;
    case Kind::kWriteprotect: operation.mode = choices.chance(90) ? choices.below(2) : choose_mode(choices, 3); break;
    case Kind::kZeropage:
    case Kind::kPoison: operation.mode = choose_mode(choices, 1); break;
    case Kind::kMove:
      operation.mode = choose_mode(choices, 3);
      operation.source = (arena.plain.first + choices.below(arena.plain.count)) * arena.page;
      if (choices.chance(20)) operation.source = choose_range(choices, arena, focus, false).start;
      break;
    case Kind::kRead:
    case Kind::kWrite:
      operation.thread = static_cast<unsigned>(choices.below(2));
      // Never one word for both: the two may be woken at once.
      operation.start &= ~std::uint64_t{15};
      operation.start += (choices.below(kWords / 2) * 2 + operation.thread) * sizeof(std::uint64_t);
      break;
    case Kind::kWriteAlias:
      operation.start = (arena.memfd.first + choices.below(arena.memfd.count)) * arena.page;
      break;
    case Kind::kMadvise: operation.mode = static_cast<std::uint64_t>(kAdvice[choices.below(std::size(kAdvice))]); break;
    case Kind::kMprotect:
    case Kind::kMmap:
      operation.mode = static_cast<std::uint64_t>(kProtections[choices.below(std::size(kProtections))]);
      break;
    case Kind::kMremap:
      operation.source = (arena.scratch.first + choices.below(arena.scratch.count)) * arena.page;
      operation.mode = choices.chance(85) ? 0 : MREMAP_DONTUNMAP;
      break;
    case Kind::kScan:
      operation.mode = choices.below(4);  // WP_MATCHING, CHECK_WPASYNC
      operation.source = choices.below(kScanQuestions);
      break;
    case Kind::kFork:
      // Rarer than the rest: it costs more than all of the others together.
      if (choices.chance(70)) operation.kind = Kind::kReopen;
      operation.start = operation.start / arena.page * arena.page;
      break;
    default: break;
  }
}

const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"REGISTER", "UNREGISTER",  "COPY",         "ZEROPAGE", "CONTINUE",
                                    "POISON",   "MOVE",        "WRITEPROTECT", "WAKE",     "read",
                                    "write",    "write-alias", "madvise",      "mprotect", "munmap",
                                    "mmap",     "mremap",      "scan",         "reopen",   "fork"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace

std::uint64_t Choices::below(std::uint64_t limit) {
  if (!from_bytes_) return random_.below(limit);
  if (bytes_.empty()) return 0;
  std::uint64_t value = bytes_[0];
  bytes_ = bytes_.subspan(1);
  if (limit > 256 && !bytes_.empty()) {
    value = value << 8 | bytes_[0];
    bytes_ = bytes_.subspan(1);
  }
  return value % limit;
}

Sequence make_sequence(Choices& choices) {
  Sequence sequence;
  for (std::uint64_t& features : sequence.features)
    features = kFeatureChoices[choices.below(std::size(kFeatureChoices))];
  sequence.huge = choices.chance(4);
  const Arena& arena = arena_of(sequence.huge);
  const Focus focus = choose_focus(choices, arena);
  const std::uint64_t count = 4 + choices.below(20);
  for (std::uint64_t i = 0; i < count && !choices.exhausted(); ++i) {
    Operation operation;
    // Nothing happens before something is registered.
    operation.kind = i < 2 ? Kind::kRegister : choose_kind(choices, focus);
    const bool whole_often = operation.kind == Kind::kRegister || operation.kind == Kind::kUnregister;
    const Range range = choose_range(choices, arena, focus, whole_often);
    operation.start = range.start;
    operation.length = range.length;
    operation.tag = i + 1;
    operation.descriptor = choices.chance(85) ? 0 : 1;
    choose_details(choices, arena, focus, operation);
    sequence.operations.push_back(operation);
  }
  return sequence;
}

std::string to_string(const Operation& operation, const Arena& arena) {
  char text[200];
  const auto page = static_cast<double>(operation.start) / static_cast<double>(arena.page);
  const char* name = "?";
  for (std::size_t i = 0; i < kArenaRegions; ++i) {
    const Region& region = arena.region(i);
    if (operation.start / arena.page - region.first < region.count) name = region.name;
  }
  std::snprintf(text, sizeof text,
                "%-12s page %g (%s) + %llu bytes, mode 0x%llx, source 0x%llx, thread %u, tag %llu, descriptor %zu",
                name_of(operation.kind), page, name, static_cast<unsigned long long>(operation.length),
                static_cast<unsigned long long>(operation.mode), static_cast<unsigned long long>(operation.source),
                operation.thread, static_cast<unsigned long long>(operation.tag), operation.descriptor);
  return text;
}

std::string to_string(const Sequence& sequence) {
  char text[100];
  std::snprintf(text, sizeof text, "  features 0x%llx and 0x%llx, pages of %zu KiB\n",
                static_cast<unsigned long long>(sequence.features[0]),
                static_cast<unsigned long long>(sequence.features[1]), arena_of(sequence.huge).page / 1024);
  std::string result = text;
  for (const Operation& operation : sequence.operations)
    result += "  " + to_string(operation, arena_of(sequence.huge)) + "\n";
  return result;
}

}  // namespace userfault::stress

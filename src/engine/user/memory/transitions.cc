// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/transitions.h"

#include "engine/user/rt/check.h"

namespace userfault::engine::user {
namespace {

struct Transition {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};
constexpr std::size_t kTransitions = 64;
constinit Transition transitions[kTransitions];
constinit std::size_t next_transition = 0;

}  // namespace

bool in_transition(std::uintptr_t address) noexcept {
  for (const Transition& range : transitions)
    if (address - range.start < range.end - range.start) return true;
  return false;
}

std::size_t transition_count() noexcept { return next_transition; }

void note_transition(std::uintptr_t start, std::uintptr_t end) noexcept {
  USERFAULT_INVARIANT(start < end, "an empty range is about to change");
  transitions[next_transition++ % kTransitions] = {start, end};
}

}  // namespace userfault::engine::user

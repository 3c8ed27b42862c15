// SPDX-License-Identifier: Apache-2.0
// Walks over the pages of an area in runs that agree in something, so that each run costs one system call.
#pragma once

#include "engine/user/memory/address_space.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

[[nodiscard]] inline PageRun all_pages(const Area& area) noexcept { return {area.first, area.pages()}; }

// Calls visit(run, key) for each of the longest runs in `pages` whose pages have the same key(index). What a visit does
// to its own run changes no other; the first error that one returns ends the walk.
template <typename Key, typename Visit>
long visit_runs_by(PageRun pages, Key key, Visit visit) noexcept {
  for (std::size_t first = pages.first; first < pages.end();) {
    const auto wanted = key(first);
    std::size_t next = first + 1;
    while (next < pages.end() && key(next) == wanted) ++next;
    if (const long result = visit(PageRun{first, next - first}, wanted); is_error(result)) return result;
    first = next;
  }
  return 0;
}

// The same by parts of the pages' states: visit(run, state.only(parts)).
template <typename Visit>
long visit_runs(const Area& area, PageRun pages, PageState::Parts parts, Visit visit) noexcept {
  return visit_runs_by(
      pages, [&](std::size_t index) { return area.state(index).load().only(parts); }, visit);
}

// Replaces the state of each page of `pages` by transition(state), each in one step.
template <typename Transition>
void change_states(const Area& area, PageRun pages, Transition transition) noexcept {
  for (std::size_t i = pages.first; i < pages.end(); ++i) area.state(i).update(transition);
}

}  // namespace userfault::engine::user

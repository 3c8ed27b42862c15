// SPDX-License-Identifier: Apache-2.0
#include "engine/user/layout/protect.h"

#include <sys/mman.h>

#include "engine/user/layout/page_range.h"
#include "engine/user/memory/address_space.h"
#include "engine/user/memory/page_runs.h"
#include "engine/user/memory/transitions.h"
#include "engine/user/rt/check.h"

namespace userfault::engine::user::layout {
namespace {

long protect_area(Area& area, int protection) noexcept {
  area.protection = protection;
  constexpr PageState::Parts kParts = PageState::kMapped | PageState::kWriteProtected;
  return visit_runs(area, all_pages(area), kParts, [&](PageRun run, PageState state) -> long {
    if (!state.is_mapped()) return 0;
    const bool narrow = state.is_write_protected() && (protection & PROT_WRITE) != 0;
    const long result = sys::mprotect(area.address_of(run.first), run.count << area.extent->page_shift,
                                      narrow ? protection & ~PROT_WRITE : protection);
    if (result == 0) change_states(area, run, [narrow](PageState page) { return page.with_read_only(narrow); });
    return result;
  });
}

// What is permitted already needs no cut, which huge pages may refuse.
long protect_piece(const Piece& piece, int protection) noexcept {
  if (piece.area == nullptr) return sys::mprotect(piece.start, piece.bytes(), protection);
  if (piece.area->protection == protection) return 0;
  if (const long cut = cut_at(piece.start, piece.end); cut < 0) return cut;
  Area& area = space.at(piece.start);
  USERFAULT_INVARIANT(area.start == piece.start && area.end == piece.end, "a cut left an area larger than its piece");
  return protect_area(area, protection);
}

}  // namespace

int mprotect(std::uintptr_t start, std::size_t length, int protection) noexcept {
  const std::uintptr_t end = start + round_up_to_page(length);
  if (!is_page_range(start, length) || (protection & ~(PROT_READ | PROT_WRITE | PROT_EXEC)) != 0 ||
      !is_served(start, end))
    return static_cast<int>(sys::mprotect(start, length, protection));
  SignalsBlocked blocked;
  Locked locked(space.lock);
  note_transition(start, end);
  return static_cast<int>(
      for_each_piece(start, end, [protection](const Piece& piece) { return protect_piece(piece, protection); }));
}

}  // namespace userfault::engine::user::layout

// SPDX-License-Identifier: Apache-2.0
// One byte for every page of a region: who may do what with it. docs/pager.md draws the transitions.
//
// Threads: any. Every transition is one atomic step, and only the thread whose step led to kFilling
// (it owns the page then) may lead out of it. Nothing here blocks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mapping.h"

namespace userfault::pager {

enum class PageState : std::uint8_t {
  kAbsent,         // not filled. Zero, so that a fresh table costs no memory
  kFilling,        // somebody owns it and is filling it
  kFillingWanted,  // the same, and a thread's message about it was read meanwhile
  kResident,       // filled by us. The program may have dropped it since (MADV_DONTNEED)
  kPoisoned,       // the store could not give it
};

class PageStates {
 public:
  explicit PageStates(std::size_t pages) noexcept : bytes_(base::OwnedMapping::anonymous(pages)) {}
  [[nodiscard]] bool valid() const noexcept { return bytes_.valid(); }

  // Acquire, pairs with the release in finish(): what the owner did before is seen.
  [[nodiscard]] PageState get(std::size_t page) const noexcept { return at(page).load(std::memory_order_acquire); }

  // Takes ownership of a page in state `from`; false when it is in another.
  [[nodiscard]] bool claim(std::size_t page, PageState from = PageState::kAbsent) noexcept {
    return at(page).compare_exchange_strong(from, PageState::kFilling, std::memory_order_acq_rel,
                                            std::memory_order_acquire);
  }

  // What somebody finds who comes because of a fault. kAbsent: it is his now, as after claim().
  // kFilling: its owner will wake the thread. Else the state that it is in.
  [[nodiscard]] PageState claim_or_want(std::size_t page) noexcept {
    auto state = at(page);
    PageState seen = state.load(std::memory_order_acquire);
    for (;;) {
      PageState next;
      switch (seen) {
        case PageState::kAbsent: next = PageState::kFilling; break;
        case PageState::kFilling: next = PageState::kFillingWanted; break;
        case PageState::kFillingWanted: return PageState::kFilling;
        default: return seen;
      }
      if (state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire)) return seen;
    }
  }

  // The owner's last step. True when a thread's message was read meanwhile: wake the page.
  [[nodiscard]] bool finish(std::size_t page, PageState to) noexcept {
    return at(page).exchange(to, std::memory_order_acq_rel) == PageState::kFillingWanted;
  }

 private:
  [[nodiscard]] std::atomic_ref<PageState> at(std::size_t page) const noexcept {
    return std::atomic_ref<PageState>(bytes_.as<PageState>()[page]);
  }
  base::OwnedMapping bytes_;
};

}  // namespace userfault::pager

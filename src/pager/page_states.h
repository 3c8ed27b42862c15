// SPDX-License-Identifier: Apache-2.0
// One byte for every page of a region: which thread may do what with it. docs/pager.md draws the transitions.
//
// Threads: any. Every transition is one atomic step, and only the thread whose step led to kOwned
// may lead out of it. Nothing here blocks, but wait_while_owned().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/mapping.h"

namespace userfault::pager {

enum class PageState : std::uint8_t {
  kAbsent,       // not in memory. Zero, so that a fresh table costs no memory
  kOwned,        // a thread is filling it, writing it back, evicting it, or changing what it allows
  kOwnedWanted,  // the same, and a thread's message about it was read meanwhile
  kResident,     // in memory as the store has it; writing to it faults
  kDirty,        // in memory, and may have been written since it was filled or written back
  kIdle,         // kResident, but not mapped: the next touch faults and is noticed
  kIdleDirty,    // kDirty, but not mapped
  kPoisoned,     // the store could not give it
  kMapped,       // the store's own file is mapped there, for good: the rest is the kernel's business
};

[[nodiscard]] constexpr bool is_owned(PageState state) noexcept {
  return state == PageState::kOwned || state == PageState::kOwnedWanted;
}
[[nodiscard]] constexpr bool is_idle(PageState state) noexcept {
  return state == PageState::kIdle || state == PageState::kIdleDirty;
}
[[nodiscard]] constexpr bool is_dirty(PageState state) noexcept {
  return state == PageState::kDirty || state == PageState::kIdleDirty;
}
// Pages that the pager filled and may evict.
[[nodiscard]] constexpr bool is_in_memory(PageState state) noexcept {
  return state == PageState::kResident || is_dirty(state) || is_idle(state);
}

class PageStates {
 public:
  explicit PageStates(std::size_t pages) noexcept : pages_(pages), bytes_(base::OwnedMapping::anonymous(pages)) {}
  [[nodiscard]] bool valid() const noexcept { return bytes_.valid(); }

  // Acquire, pairs with the release in finish(): what the owner did before is seen.
  [[nodiscard]] PageState get(std::size_t page) const noexcept { return at(page).load(std::memory_order_acquire); }

  // Takes ownership of a page in state `from`; false when it is in another.
  [[nodiscard]] bool claim(std::size_t page, PageState from = PageState::kAbsent) noexcept {
    USERFAULT_CHECK(!is_owned(from), "a page is claimed from its owner");
    USERFAULT_CHECK(from != PageState::kMapped, "a page that shows the store's file is claimed");
    return at(page).compare_exchange_strong(from, PageState::kOwned, std::memory_order_acq_rel,
                                            std::memory_order_acquire);
  }

  // What a worker finds that comes because of a fault. kAbsent: the worker owns it now, as after claim().
  // kOwned: its owner will wake the thread. Else the state that it is in.
  [[nodiscard]] PageState claim_or_want(std::size_t page) noexcept {
    auto state = at(page);
    PageState seen = state.load(std::memory_order_acquire);
    for (;;) {
      PageState next;
      switch (seen) {
        case PageState::kAbsent: next = PageState::kOwned; break;
        case PageState::kOwned: next = PageState::kOwnedWanted; break;
        case PageState::kOwnedWanted: return PageState::kOwned;
        default: return seen;
      }
      if (state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire)) return seen;
    }
  }

  // The owner's last step. True when a thread's message was read meanwhile: wake the page.
  // Sequentially consistent, with wait_while_owned(): either that sees the page free, or this sees it wait.
  [[nodiscard]] bool finish(std::size_t page, PageState to) noexcept {
    USERFAULT_CHECK(!is_owned(to), "a page's last step leads nowhere");
    const PageState was = at(page).exchange(to);
    USERFAULT_CHECK(is_owned(was), "a page is finished by a thread that does not own it");
    const bool wanted = was == PageState::kOwnedWanted;
    if (waiting_.load() != 0) {
      settled_.fetch_add(1);
      settled_.notify_all();
    }
    return wanted;
  }

  // Returns the page's state once no thread owns it. The caller may own no page: owners never wait.
  PageState wait_while_owned(std::size_t page) noexcept {
    PageState state = get(page);
    if (!is_owned(state)) return state;
    waiting_.fetch_add(1);
    for (;;) {
      const std::uint32_t seen = settled_.load();
      state = at(page).load();
      if (!is_owned(state)) break;
      settled_.wait(seen);
    }
    USERFAULT_CHECK(waiting_.fetch_sub(1) != 0, "fewer threads than none wait for a page's owner");
    return state;
  }

 private:
  [[nodiscard]] std::atomic_ref<PageState> at(std::size_t page) const noexcept {
    USERFAULT_CHECK(page < pages_, "a page lies outside of its region");
    return std::atomic_ref<PageState>(bytes_.as<PageState>()[page]);
  }
  const std::size_t pages_;
  base::OwnedMapping bytes_;
  std::atomic<std::uint32_t> waiting_{0};
  std::atomic<std::uint32_t> settled_{0};
};

}  // namespace userfault::pager

// SPDX-License-Identifier: Apache-2.0
// The state of one page, a byte: what is behind it, whether it is write-protected, and what this process's mapping
// shows there now.
//
//   missing ──claim──▶ busy ──finish──▶ present      COPY, ZEROPAGE, CONTINUE, and a fault that no monitor hears of
//      ▲  ▲              │ └───────────▶ poisoned    POISON
//      │  └──────────────┘ the claim failed
//      └── present, poisoned                         under Space::lock exclusive alone: madvise, MOVE, UNREGISTER
//
//   unmapped (PROT_NONE) ◀──▶ mapped behind a guard page ◀──▶ open
//
// The thread that has made a page busy owns it: it alone decides what the page becomes, and maps or unmaps it. No page
// is busy while Space::lock is held exclusively, because an owner holds it shared. Write protection is a mark beside
// the content, which another thread may set or clear on a busy page.
//
// Each transition names what it comes from; what cannot come from there aborts (rt/check.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "engine/user/rt/check.h"

namespace userfault::engine::user {

enum class PageContent : std::uint8_t {
  kMissing = 0,
  kPresent = 1,
  kBusy = 2,  // its owner is filling it
  kPoisoned = 3,
};

class PageState {
 public:
  // Parts of a state, to compare by.
  using Parts = std::uint8_t;
  static constexpr Parts kContent = 3;
  static constexpr Parts kWriteProtected = 4;
  static constexpr Parts kMapped = 8;     // the mapping is not PROT_NONE
  static constexpr Parts kGuarded = 16;   // a guard page stands there
  static constexpr Parts kReadOnly = 32;  // the mapping lacks a PROT_WRITE that the program asked for

  // How a page begins: missing, and its mapping PROT_NONE.
  constexpr PageState() noexcept = default;
  constexpr explicit PageState(PageContent content) noexcept : bits_(static_cast<Parts>(content)) {}
  [[nodiscard]] static constexpr PageState of_bits(Parts bits) noexcept {
    PageState state;
    state.bits_ = bits;
    return state;
  }
  [[nodiscard]] constexpr Parts bits() const noexcept { return bits_; }
  // The state without all but `parts`.
  [[nodiscard]] constexpr PageState only(Parts parts) const noexcept { return of_bits(bits_ & parts); }
  friend constexpr bool operator==(PageState, PageState) noexcept = default;

  // ---- what is behind the page ----

  [[nodiscard]] constexpr PageContent content() const noexcept { return static_cast<PageContent>(bits_ & kContent); }
  [[nodiscard]] constexpr bool is_missing() const noexcept { return content() == PageContent::kMissing; }
  [[nodiscard]] constexpr bool is_present() const noexcept { return content() == PageContent::kPresent; }
  [[nodiscard]] constexpr bool is_busy() const noexcept { return content() == PageContent::kBusy; }
  [[nodiscard]] constexpr bool is_poisoned() const noexcept { return content() == PageContent::kPoisoned; }
  [[nodiscard]] constexpr bool is_write_protected() const noexcept { return has(kWriteProtected); }
  // Neither a page nor a hole, as far as the state knows: the kernel has a marker in its page table there.
  [[nodiscard]] constexpr bool is_marker() const noexcept {
    return is_poisoned() || (is_missing() && is_write_protected());
  }

  // ---- what the mapping shows ----

  [[nodiscard]] constexpr bool is_mapped() const noexcept { return has(kMapped); }
  [[nodiscard]] constexpr bool is_guarded() const noexcept { return has(kGuarded); }
  // An access reaches the page, at least to read it.
  [[nodiscard]] constexpr bool is_open() const noexcept { return (bits_ & (kMapped | kGuarded)) == kMapped; }
  [[nodiscard]] constexpr bool is_read_only() const noexcept { return has(kReadOnly); }
  // Missing and open: the engine does not track the page, so the kernel alone knows whether there is one.
  [[nodiscard]] constexpr bool is_untracked() const noexcept { return is_missing() && is_open(); }

  // ---- transitions of the content ----

  // Missing, or a poison that an operation may fill over, becomes the caller's.
  [[nodiscard]] constexpr PageState claimed() const noexcept {
    USERFAULT_INVARIANT(is_missing() || is_poisoned(), "a page was claimed that has content or an owner");
    return with(PageContent::kBusy);
  }
  // The owner gives the page up.
  [[nodiscard]] constexpr PageState finished(PageContent content, bool write_protected) const noexcept {
    USERFAULT_INVARIANT(is_busy(), "a page was finished that its caller does not own");
    USERFAULT_INVARIANT(content != PageContent::kBusy, "a page was finished and is busy still");
    return with(content).with_protection(write_protected);
  }
  // Under Space::lock exclusive.
  [[nodiscard]] constexpr PageState with_content(PageContent content) const noexcept {
    USERFAULT_INVARIANT(!is_busy(), "a page is busy while Space::lock is held exclusively");
    USERFAULT_INVARIANT(content != PageContent::kBusy, "a page was made busy without a claim");
    return with(content);
  }
  [[nodiscard]] constexpr PageState with_protection(bool write_protected) const noexcept {
    return of_bits(write_protected ? bits_ | kWriteProtected : bits_ & ~kWriteProtected);
  }

  // ---- transitions of the mapping ----

  // A guard page was installed and the mapping's protection raised behind it.
  [[nodiscard]] constexpr PageState mapped_behind_guard() const noexcept {
    USERFAULT_INVARIANT(!is_mapped(), "a page was mapped twice");
    return of_bits((bits_ | kMapped | kGuarded) & ~kReadOnly);
  }
  [[nodiscard]] constexpr PageState mapped(bool read_only) const noexcept {
    USERFAULT_INVARIANT(!is_mapped() && !is_guarded(), "a page was mapped twice");
    return of_bits((bits_ & ~kReadOnly) | kMapped | (read_only ? kReadOnly : 0));
  }
  [[nodiscard]] constexpr PageState unmapped() const noexcept {
    USERFAULT_INVARIANT(is_mapped(), "a page was unmapped twice");
    return of_bits(bits_ & ~(kMapped | kGuarded | kReadOnly));
  }
  [[nodiscard]] constexpr PageState with_guard() const noexcept {
    USERFAULT_INVARIANT(is_open(), "a guard page was installed in a page that is not open");
    return of_bits(bits_ | kGuarded);
  }
  [[nodiscard]] constexpr PageState without_guard() const noexcept {
    USERFAULT_INVARIANT(is_mapped() && is_guarded(), "a guard page was removed that is not there");
    return of_bits(bits_ & ~kGuarded);
  }
  [[nodiscard]] constexpr PageState with_read_only(bool read_only) const noexcept {
    USERFAULT_INVARIANT(is_mapped(), "the protection of a page was changed that has none");
    return of_bits(read_only ? bits_ | kReadOnly : bits_ & ~kReadOnly);
  }

 private:
  [[nodiscard]] constexpr bool has(Parts part) const noexcept { return (bits_ & part) != 0; }
  [[nodiscard]] constexpr PageState with(PageContent content) const noexcept {
    return of_bits((bits_ & ~kContent) | static_cast<Parts>(content));
  }
  [[nodiscard]] static constexpr PageState of_bits(int bits) noexcept { return of_bits(static_cast<Parts>(bits)); }

  Parts bits_ = 0;
};

// The place of a state in an extent. Every change releases and every load acquires, so that a thread that decides on
// a state sees what its last owner did before.
class AtomicPageState {
 public:
  [[nodiscard]] PageState load() const noexcept { return PageState::of_bits(bits_.load(std::memory_order_acquire)); }
  void store(PageState state) noexcept { bits_.store(state.bits(), std::memory_order_release); }
  // Makes `seen` the state that is there when it is not `seen` any more.
  [[nodiscard]] bool try_change(PageState& seen, PageState next) noexcept {
    PageState::Parts bits = seen.bits();
    const bool changed = bits_.compare_exchange_strong(bits, next.bits(), std::memory_order_acq_rel);
    seen = PageState::of_bits(bits);
    return changed;
  }
  // Replaces the state by transition(state), in one step.
  template <typename Transition>
  void update(Transition transition) noexcept {
    PageState seen = PageState::of_bits(bits_.load(std::memory_order_relaxed));
    while (!try_change(seen, transition(seen))) {
    }
  }
  [[nodiscard]] const std::atomic<PageState::Parts>& word() const noexcept { return bits_; }

 private:
  std::atomic<PageState::Parts> bits_{0};
};

static_assert(sizeof(AtomicPageState) == 1, "an extent has a byte a page");

}  // namespace userfault::engine::user

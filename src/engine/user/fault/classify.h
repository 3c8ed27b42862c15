// SPDX-License-Identifier: Apache-2.0
// What an access to a tracked page needs: the one place that decides it. The fault handler takes the steps
// (handler.cc); a thread that touches memory ahead of a system call asks where they lead (prefault.cc).
//
//   forbidden by the program's own protection   kForbidden
//   poisoned                                    kPoisoned
//   another thread fills the page               kWait
//   missing   the mapping is open anyway        kNone: nothing tracks the page, the kernel provides it
//             in the page cache, MINOR          kReportMinor
//             not there, MISSING                kReportMissing
//             else                              kOpen
//   present   its mapping is shut               kReopen
//             write, the mark counts            kReportProtected, with WP_ASYNC kWriteThrough
//             write, only the mapping forbids   kMakeWritable
//             else                              kNone
//
// A report that must not wait for a monitor is kRefused instead: FEATURE_SIGBUS without in-thread resolution, and
// an access of the kernel's with UFFD_USER_MODE_ONLY or FEATURE_SIGBUS (docs/spec/real-kernel.md, row 19).
//
// Threads: any, also in a signal handler. Pure: no lock, no side effect; what is not in the state byte is handed in,
// and the page cache is asked only where the answer matters, which may take a system call.
#pragma once

#include "engine/user/memory/address_space.h"
#include "engine/user/memory/presence.h"

namespace userfault::engine::user {

enum class Step : std::uint8_t {
  // The access passes.
  kNone,
  kWait,  // until the thread that fills the page settles it
  // Steps that no monitor hears of; the access is then tried again.
  kOpen,          // the page as it is, zeroes where nothing was written
  kReopen,        // a page that is there
  kMakeWritable,  // the mapping of a page that is there and not write-protected
  kWriteThrough,  // takes the write protection away, which is the record of the write
  // A monitor has to act.
  kReportMissing,
  kReportMinor,
  kReportProtected,
  // The access fails.
  kForbidden,    // SIGSEGV
  kPoisoned,     // SIGBUS with BUS_MCEERR_AR
  kUnavailable,  // SIGBUS: whether the page is there could not be found out, for want of memory
  kRefused,      // SIGBUS: a monitor would have to act, and must not be waited for
};

struct MemoryAccess {
  bool write = false;
  bool fetch = false;
  bool by_kernel = false;  // for a system call, or by the engine where natively the kernel makes the access
};

// What a decision depends on, of one page.
struct PageFacts {
  PageState state{};
  Kind kind = Kind::kNative;
  std::uint32_t modes = 0;  // USERFAULT_REGISTER_MODE_*; 0 where no instance is registered
  int protection = 0;       // PROT_*, what the program asked for
  std::uint64_t features = 0;
  bool registered = false;
  bool user_mode_only = false;
  bool in_thread = false;  // the faulting thread resolves its faults itself
  // Whether the page cache has a page of shared memory.
  Presence (*look_up)(const Extent& extent, std::size_t page_index) noexcept = nullptr;
  const Extent* extent = nullptr;
  std::size_t page_index = 0;
};

// Under Space::lock.
[[nodiscard]] PageFacts facts_of(const Area& area, std::size_t page_index) noexcept;

// The next step. Never kNone for an access that the mapping's protection stops, if the state is true to the mapping.
[[nodiscard]] Step classify(const PageFacts& page, const MemoryAccess& access) noexcept;

// The first step, and the one where the steps that no monitor hears of end.
struct Foresight {
  Step first = Step::kNone;
  Step last = Step::kNone;
};
[[nodiscard]] Foresight foresee(PageFacts page, const MemoryAccess& access) noexcept;

[[nodiscard]] constexpr bool is_report(Step step) noexcept {
  return step == Step::kReportMissing || step == Step::kReportMinor || step == Step::kReportProtected;
}
[[nodiscard]] constexpr bool is_failure(Step step) noexcept { return step >= Step::kForbidden; }
// Whether the mark of the page counts: without the mode it stays on the page and means nothing (userfaultfd_pte_wp in
// the kernel).
[[nodiscard]] constexpr bool is_mark_valid(PageState state, std::uint32_t modes) noexcept {
  return state.is_write_protected() && (modes & USERFAULT_REGISTER_MODE_WP) != 0;
}
// Whether a protection permits the access. On both architectures a page that can be written or executed can be read.
[[nodiscard]] bool permits(int protection, const MemoryAccess& access) noexcept;

}  // namespace userfault::engine::user

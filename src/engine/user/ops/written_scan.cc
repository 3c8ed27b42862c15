// SPDX-License-Identifier: Apache-2.0
// Documentation/admin-guide/mm/pagemap.rst, "Pagemap Scan IOCTL", with the engine's states for page tables;
// which page is in which category, and the two short cuts, as in fs/proc/task_mmu.c.
#include "engine/user/ops/written_scan.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>

#include "engine/engine.h"
#include "engine/user/fault/prefault.h"
#include "engine/user/memory/page_access.h"
#include "engine/user/memory/presence.h"
#include "engine/user/proc/pagemap.h"
#include "engine/user/proc/vma_query.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/rt/process_identity.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {
namespace {

constexpr std::uint64_t kTableBytes = kPageSize * 512;  // what one page of the page table covers
constexpr std::uint64_t kScanFlags = USERFAULT_SCAN_WP_MATCHING | USERFAULT_SCAN_CHECK_WPASYNC;
constexpr std::uint64_t kCategories = (USERFAULT_PAGE_IS_GUARD << 1) - 1;

bool tracks_writes(const Area& area) noexcept {
  return area.instance != nullptr && (area.modes & USERFAULT_REGISTER_MODE_WP) != 0 &&
         (area.instance->features & USERFAULT_FEATURE_WP_ASYNC) != 0;
}

// Entries of the page table, as /proc/self/pagemap shows them: few at a time, since a trapped call runs on
// a signal's stack.
class PageTable {
 public:
  [[nodiscard]] bool has_page(std::uintptr_t address) noexcept {
    look_at(address);
    return entry_has_content(entries_[address % kWindow / kPageSize]);
  }
  // In the part of memory that one page of the page table covers.
  [[nodiscard]] bool has_any(std::uintptr_t address) noexcept {
    const std::uintptr_t start = address / kTableBytes * kTableBytes;
    for (std::uintptr_t at = start; at < start + kTableBytes; at += kWindow) {
      look_at(at);
      if (std::any_of(std::begin(entries_), std::end(entries_), entry_has_content)) return true;
    }
    return false;
  }

 private:
  void look_at(std::uintptr_t address) noexcept {
    const std::uintptr_t start = address / kWindow * kWindow;
    if (start == start_) return;
    start_ = start;
    // Where the file cannot be read every page counts as populated: a page too many may be reported, none too few.
    if (pagemap_.read(start, entries_, kEntries) != kEntries)
      std::fill(std::begin(entries_), std::end(entries_), kUnknownEntry);
  }

  static constexpr std::size_t kEntries = 64;
  static constexpr std::uintptr_t kWindow = kEntries * kPageSize;
  Pagemap pagemap_;
  std::uintptr_t start_ = 1;  // of none
  std::uint64_t entries_[kEntries];
};

// Memory that is not tracked is open. Of a file of the program's a mapping shows what was touched through it; a memfd
// of the engine's has what was touched in its only mapping.
bool is_present(const Area& area, std::size_t index, PageState state, PageTable& table) noexcept {
  if (state.is_present()) return true;
  if (!state.is_untracked()) return false;
  return area.extent->converted() ? may_have_content(area, index) : table.has_page(area.address_of(index));
}

// Of a page that has an entry in the kernel's page table; 0 when it has none.
std::uint64_t categories_of(const Area& area, std::size_t index, PageTable& table) noexcept {
  const PageState state = area.state(index).load();
  const Extent& extent = *area.extent;
  std::uint64_t result = 0;
  if (is_present(area, index, state, table)) {
    result |= USERFAULT_PAGE_IS_PRESENT;
    if (extent.shared() || extent.kind == Kind::kFile) result |= USERFAULT_PAGE_IS_FILE;
  } else if (state.is_marker()) {
    // An entry that the kernel counts among the swapped ones.
    result |= USERFAULT_PAGE_IS_SWAPPED;
  } else {
    return 0;
  }
  if (!state.is_write_protected()) result |= USERFAULT_PAGE_IS_WRITTEN;
  if (extent.huge()) result |= USERFAULT_PAGE_IS_HUGE;
  return result;
}

bool matches(const userfault_scan& request, std::uint64_t categories) noexcept {
  categories ^= request.category_inverted;
  if ((categories & request.category_mask) != request.category_mask) return false;
  return request.category_anyof_mask == 0 || (categories & request.category_anyof_mask) != 0;
}

// The short cut of pagemap_scan_pmd_entry, which takes every page that is not protected.
bool only_protects(const userfault_scan& request) noexcept {
  return request.vec == 0 && (request.flags & USERFAULT_SCAN_WP_MATCHING) != 0;
}

// Whether the kernel would have a page of the page table there. The engine's guard pages do not count.
bool has_table(std::uintptr_t address, PageTable& table) noexcept {
  if (table.has_any(address)) return true;
  const std::uintptr_t start = address / kTableBytes * kTableBytes;
  const std::uintptr_t end = start + kTableBytes;
  for (const Area* area = space.first_ending_after(start); area != space.end() && area->start < end; ++area) {
    const std::uintptr_t last = std::min(end, area->end);
    for (std::uintptr_t at = std::max(start, area->start); at < last; at += area->extent->page_size())
      if (categories_of(*area, area->page_at(at), table) != 0) return true;
  }
  return false;
}

// The regions that were found. The last one may still grow, and is kept back.
class Output {
 public:
  explicit Output(const userfault_scan& request) noexcept
      : to_(request.vec_len != 0 ? reinterpret_cast<userfault_page_region*>(request.vec) : nullptr),
        room_(request.vec_len),
        max_pages_(request.max_pages != 0 ? request.max_pages : UINT64_MAX),
        mask_(request.return_mask) {}

  // Where the pages that were taken end: `end`, or less when there is no room for more.
  std::uintptr_t add(std::uintptr_t start, std::uintptr_t end, std::uint64_t categories) noexcept {
    if (to_ == nullptr) return end;
    USERFAULT_INVARIANT(start <= end && last_.end <= start, "a scan went backwards");
    if ((end - start) / kPageSize > pages_left()) end = start + pages_left() * kPageSize;
    if (end == start) return start;
    categories &= mask_;
    if (last_.end == start && last_.categories == categories) {
      last_.end = end;
    } else {
      if (count_ == room_) return start;
      flush();
      last_ = {start, end, categories};
      ++count_;
    }
    found_ += (end - start) / kPageSize;
    USERFAULT_INVARIANT(found_ <= max_pages_ && count_ <= room_, "a scan reports more than there is room for");
    return end;
  }
  // Takes back what add() has just taken (pagemap_scan_backout_range).
  void back_out(std::uintptr_t start, std::uintptr_t end) noexcept {
    if (to_ == nullptr) return;
    USERFAULT_INVARIANT(last_.end == end && last_.start <= start, "a scan takes back what it has not just taken");
    found_ -= (end - start) / kPageSize;
    last_.end = start;
    if (last_.start != start) return;
    last_ = {};
    --count_;
  }
  [[nodiscard]] bool wants() const noexcept { return to_ != nullptr; }
  [[nodiscard]] std::uint64_t pages_left() const noexcept { return max_pages_ - found_; }

  // The count, or -EFAULT when the program's memory did not take them all.
  [[nodiscard]] long finish() noexcept {
    flush();
    return failed_ ? -EFAULT : static_cast<long>(count_);
  }

 private:
  void flush() noexcept {
    if (last_.end != 0 && !guarded_copy(to_ + (count_ - 1), &last_, sizeof last_)) failed_ = true;
  }

  userfault_page_region* to_;
  std::uint64_t room_;
  std::uint64_t max_pages_;
  std::uint64_t mask_;
  std::uint64_t found_ = 0;       // pages
  std::uint64_t count_ = 0;       // regions, with the last one
  userfault_page_region last_{};  // ends at 0: none, or taken back
  bool failed_ = false;
};

bool has_mapping(std::uintptr_t start, std::uintptr_t end) noexcept {
  Mapping mapping;
  return start < end && find_mapping(start, &mapping) == 0 && mapping.start < end;
}

class Walk {
 public:
  explicit Walk(const userfault_scan& request) noexcept
      : request_(request), output_(request), end_(round_up_to_page(request.end)) {}

  long run() noexcept {
    std::uintptr_t at = request_.start;
    while (at < end_ && stopped_at_ == 0) {
      const Piece piece = piece_at(at, end_);
      const long result = piece.area == nullptr ? ask_kernel(at, piece.end) : visit(*piece.area, at, piece.end);
      if (result < 0) return result;
      at = piece.end;
    }
    return output_.finish();
  }
  [[nodiscard]] std::uintptr_t walked_to() const noexcept {
    return stopped_at_ != 0 ? stopped_at_ : passed_over_ != 0 ? passed_over_ : end_;
  }

 private:
  // Memory that the engine does not serve.
  long ask_kernel(std::uintptr_t start, std::uintptr_t end) noexcept {
    userfault_page_region regions[16];
    userfault_scan part = request_;
    for (part.start = start; part.start < end; part.start = part.walk_end) {
      part.end = end;
      part.vec = output_.wants() ? reinterpret_cast<std::uintptr_t>(regions) : 0;
      part.vec_len = output_.wants() ? std::size(regions) : 0;
      part.max_pages = request_.max_pages == 0 ? 0 : output_.pages_left();
      // The walk ends where the first page is for which there is no room: that one is looked for, and left alone.
      if (output_.pages_left() == 0) {
        part.max_pages = 1;
        if ((part.flags & USERFAULT_SCAN_WP_MATCHING) != 0) part.category_mask |= USERFAULT_PAGE_IS_WPALLOWED;
        part.flags &= ~std::uint64_t{USERFAULT_SCAN_WP_MATCHING};
      }
      const long found = kernel_engine().scan(&part);
      // A kernel before 6.7 cannot tell, which matters only where there is something; that it is not tracked is
      // certain there, as FEATURE_WP_ASYNC came with PAGEMAP_SCAN.
      if (found == -ENOTTY && (request_.flags & USERFAULT_SCAN_CHECK_WPASYNC) != 0 && has_mapping(start, end))
        return -EPERM;
      if (found < 0) return has_mapping(start, end) ? found : 0;
      for (long i = 0; i < found; ++i) {
        const std::uintptr_t taken = output_.add(regions[i].start, regions[i].end, regions[i].categories);
        if (taken == regions[i].end) continue;
        stopped_at_ = taken;
        return 0;
      }
      // A huge page in the hands of the kernel's engine, of which it has passed over a part.
      if (part.walk_end <= part.start) {
        passed_over_ = part.walk_end;
        return 0;
      }
    }
    return 0;
  }

  long visit(const Area& area, std::uintptr_t at, std::uintptr_t stop) noexcept {
    const bool allowed = tracks_writes(area);
    if (!allowed && (request_.flags & USERFAULT_SCAN_CHECK_WPASYNC) != 0) return -EPERM;
    if (!allowed && (request_.flags & USERFAULT_SCAN_WP_MATCHING) != 0) return 0;
    while (at < stop && stopped_at_ == 0) {
      const std::size_t index = area.page_at(at);
      // Of a huge page the range may have a part.
      const std::uintptr_t next = std::min(area.address_of(index) + area.extent->page_size(), stop);
      if (const long result = visit_page(area, index, at, next); result < 0) return result;
      at = next;
    }
    return 0;
  }

  long visit_page(const Area& area, std::size_t index, std::uintptr_t at, std::uintptr_t next) noexcept {
    const bool protects = (request_.flags & USERFAULT_SCAN_WP_MATCHING) != 0;
    std::uint64_t categories = categories_of(area, index, table_);
    // What has no entry counts as written: in memory that is registered for protection always (since Linux
    // 6.18.44 also where the page table has no page for it), else where the page table has a page.
    const bool counts = area.instance != nullptr && (area.modes & USERFAULT_REGISTER_MODE_WP) != 0;
    if (categories == 0 && !area.extent->huge() && (counts || table_at(at))) categories = USERFAULT_PAGE_IS_WRITTEN;
    if (tracks_writes(area)) categories |= USERFAULT_PAGE_IS_WPALLOWED;
    const bool taken = only_protects(request_) && !area.extent->huge() ? (categories & USERFAULT_PAGE_IS_WRITTEN) != 0
                                                                       : matches(request_, categories);
    if (!taken) return 0;
    const std::uintptr_t stopped = output_.add(at, next, categories);
    const bool protectable = protects && stopped != at && (categories & USERFAULT_PAGE_IS_WRITTEN) != 0;
    // A part of a huge page, because the range or the room ends in it, cannot be protected, and is not told
    // of: the walk goes on, and is said to have ended there (pagemap_scan_hugetlb_entry).
    if (protectable && stopped - at != area.extent->page_size()) {
      output_.back_out(at, stopped);
      passed_over_ = at;
      return 0;
    }
    if (stopped != next) {
      passed_over_ = 0;
      stopped_at_ = stopped;
      return 0;
    }
    return protectable ? protect_again(area, index) : 0;
  }

  static long protect_again(const Area& area, std::size_t index) noexcept {
    Locked changing(area.extent->protection);
    if (const long result = protect_run(area, {index, 1}, true); result < 0) return result;
    area.state(index).update([](PageState state) { return state.with_protection(true); });
    return 0;
  }

  bool table_at(std::uintptr_t at) noexcept {
    const std::uintptr_t start = at / kTableBytes * kTableBytes;
    if (start != asked_) has_table_ = has_table(at, table_);
    asked_ = start;
    return has_table_;
  }

  const userfault_scan& request_;
  Output output_;
  std::uintptr_t end_;
  std::uintptr_t stopped_at_ = 0;  // no room for what is there
  std::uintptr_t passed_over_ = 0;
  PageTable table_;
  std::uintptr_t asked_ = 1;  // the block that has_table_ is about; of none
  bool has_table_ = false;
};

// pagemap_scan_get_args.
long check(const userfault_scan& request) noexcept {
  const std::uint64_t categories =
      request.category_inverted | request.category_mask | request.category_anyof_mask | request.return_mask;
  if (request.size != sizeof request || (request.flags & ~kScanFlags) != 0 || (categories & ~kCategories) != 0)
    return -EINVAL;
  if (!is_page_aligned(request.start) || (request.vec == 0 && request.vec_len != 0)) return -EINVAL;
  return request.end < request.start ? -EFAULT : 0;
}

}  // namespace

long scan(userfault_scan* argument) noexcept {
  userfault_scan request;
  if (!guarded_copy(&request, argument, sizeof request)) return -EFAULT;
  const std::uint64_t end = request.end > request.start ? request.end : request.start + 1;
  if (!is_served(request.start, end)) return kernel_engine().scan(argument);
  if (const long bad = check(request); bad < 0) return bad;
  // The answer may have to go where a monitor must bring a page first.
  const Buffer answer{request.vec, request.vec_len * sizeof(userfault_page_region)};
  while (const std::uintptr_t closed = first_closed(answer, Access::kWrite))
    if (!touch(closed, Access::kWrite)) break;
  long result;
  {
    SignalsBlocked blocked;
    LockedShared locked(space.lock);
    Walk walk(request);
    result = walk.run();
    request.walk_end = walk.walked_to();
  }
  constexpr std::size_t kAt = offsetof(userfault_scan, walk_end);
  void* walk_end = reinterpret_cast<char*>(argument) + kAt;
  return guarded_copy(walk_end, &request.walk_end, sizeof request.walk_end) ? result : -EFAULT;
}

bool is_write_protected(std::uintptr_t address) noexcept {
  if (!is_own_process()) return false;
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  const Area* area = space.find(address);
  return area != nullptr && area->state(area->page_at(address)).load().is_write_protected();
}

}  // namespace userfault::engine::user

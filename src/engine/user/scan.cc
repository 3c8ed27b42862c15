// SPDX-License-Identifier: Apache-2.0
// Documentation/admin-guide/mm/pagemap.rst, "Pagemap Scan IOCTL", with our states for page tables.
#include "engine/user/scan.h"

#include <cerrno>

#include "engine/engine.h"
#include "engine/user/sigsafe/fill.h"
#include "engine/user/sigsafe/maps.h"

namespace userfault::engine::user {
namespace {

using namespace sigsafe;

// Memory that nobody tracks is open. Of an object of the program's a mapping shows what was touched
// through it; an object of ours has what was touched in its only mapping.
bool shows(const Area& area, std::size_t index) noexcept {
  return area.extent->converted() ? may_have_content(area, index) : is_populated(area.address_of(index));
}

std::uint64_t categories_of(const Area& area, std::size_t index) noexcept {
  const std::uint8_t state = area.state(index).load(std::memory_order_acquire);
  const bool open_and_untracked = (state & (page::kContent | page::kOpen | page::kGuard)) == page::kOpen;
  const bool present = (state & page::kContent) == page::kPresent || (open_and_untracked && shows(area, index));
  std::uint64_t result = 0;
  if (area.instance != nullptr && (area.modes & USERFAULT_REGISTER_MODE_WP) != 0 &&
      (area.instance->features & USERFAULT_FEATURE_WP_ASYNC) != 0)
    result |= USERFAULT_PAGE_IS_WPALLOWED;
  if (present && (state & page::kWriteProtected) == 0) result |= USERFAULT_PAGE_IS_WRITTEN;
  if (present) result |= USERFAULT_PAGE_IS_PRESENT;
  if (present && (area.extent->shared() || area.extent->kind == Kind::kFile)) result |= USERFAULT_PAGE_IS_FILE;
  if (present && area.extent->huge()) result |= USERFAULT_PAGE_IS_HUGE;
  return result;
}

bool matches(const userfault_scan& request, std::uint64_t categories) noexcept {
  categories ^= request.category_inverted;
  if ((categories & request.category_mask) != request.category_mask) return false;
  return request.category_anyof_mask == 0 || (categories & request.category_anyof_mask) != 0;
}

class Output {
 public:
  explicit Output(userfault_scan& request) noexcept
      : request_(request), vector_(reinterpret_cast<userfault_page_region*>(request.vec)) {}

  // False when there is no room, and the page must be left for the next call.
  bool add(std::uintptr_t start, std::uintptr_t end, std::uint64_t categories) noexcept {
    const std::uint64_t pages = (end - start) / 4096;
    if (request_.max_pages != 0 && found_ + pages > request_.max_pages) return false;
    const std::uint64_t shown = categories & request_.return_mask;
    if (vector_ != nullptr) {
      const bool extends = count_ > 0 && vector_[count_ - 1].end == start && vector_[count_ - 1].categories == shown;
      if (!extends && static_cast<std::uint64_t>(count_) == request_.vec_len) return false;
      if (extends) vector_[count_ - 1].end = end;
      else vector_[count_++] = {start, end, shown};
    }
    found_ += pages;
    return true;
  }
  [[nodiscard]] long count() const noexcept { return count_; }

 private:
  userfault_scan& request_;
  userfault_page_region* vector_;
  long count_ = 0;
  std::uint64_t found_ = 0;
};

long protect_again(const Area& area, std::size_t index) noexcept {
  Locked changing(area.extent->protection);
  if (const long result = protect_run(area, {index, 1}, true); result < 0) return result;
  area.state(index).fetch_or(page::kWriteProtected, std::memory_order_acq_rel);
  return 0;
}

bool has_mapping(std::uintptr_t start, std::uintptr_t end) noexcept {
  Mapping mapping;
  return start < end && find_mapping(start, &mapping) == 0 && mapping.start < end;
}

long walk(userfault_scan& request) noexcept {
  Output output(request);
  const std::uintptr_t end = (request.end + 4095) & ~std::uintptr_t{4095};
  const bool check = (request.flags & USERFAULT_SCAN_CHECK_WPASYNC) != 0;
  std::uintptr_t at = request.start;
  std::uintptr_t passed_over = 0;
  while (at < end) {
    const Area* area = space.lower(at);
    const std::uintptr_t found = area == space.end() || area->start > end ? end : area->start;
    // Memory that nobody serves has nothing to tell.
    if (check && has_mapping(at, found)) return -EPERM;
    if (found > at) at = found;
    if (at == end) break;
    const std::size_t index = area->page_at(at);
    // Of a huge page the range may have a part.
    const std::uintptr_t page_end = area->address_of(index) + area->extent->page_size();
    const std::uintptr_t next = page_end < end ? page_end : end;
    const std::uint64_t categories = categories_of(*area, index);
    const bool allowed = (categories & USERFAULT_PAGE_IS_WPALLOWED) != 0;
    if (!allowed && check) return -EPERM;
    if (matches(request, categories)) {
      // A part of a huge page cannot be protected, and is not told of: the walk goes on, and is said to have
      // ended there (pagemap_scan_hugetlb_entry in fs/proc/task_mmu.c).
      const bool protect = allowed && (request.flags & USERFAULT_SCAN_WP_MATCHING) != 0;
      if (protect && next - at != area->extent->page_size()) {
        passed_over = at;
        at = next;
        continue;
      }
      if (!output.add(at, next, categories)) {
        passed_over = 0;
        break;
      }
      if (protect) {
        if (const long result = protect_again(*area, index); result < 0) return result;
      }
    }
    at = next;
  }
  request.walk_end = passed_over != 0 ? passed_over : at;
  return output.count();
}

}  // namespace

long scan(userfault_scan* request) noexcept {
  {
    SignalsBlocked blocked;
    LockedShared locked(space.lock);
    const Area* area = space.lower(request->start);
    if (area != space.end() && (area->start < request->end || area->start <= request->start)) {
      constexpr std::uint64_t kFlags = USERFAULT_SCAN_WP_MATCHING | USERFAULT_SCAN_CHECK_WPASYNC;
      if (request->size != sizeof *request || (request->flags & ~kFlags) != 0 || (request->start & 4095) != 0 ||
          request->end < request->start)
        return -EINVAL;
      if ((request->vec == 0) != (request->vec_len == 0)) return -EINVAL;
      return walk(*request);
    }
  }
  return kernel_engine().scan(request);
}

bool is_write_protected(std::uintptr_t address) noexcept {
  SignalsBlocked blocked;
  LockedShared locked(space.lock);
  const Area* area = space.find(address);
  return area != nullptr &&
         (area->state(area->page_at(address)).load(std::memory_order_acquire) & page::kWriteProtected) != 0;
}

}  // namespace userfault::engine::user

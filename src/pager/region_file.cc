// SPDX-License-Identifier: Apache-2.0
// The store's own file in the place of pages (FileStoreOptions::mapped).
//
// A thread that walks through a file in the page cache is slowed down by every copy: the pager's two
// bring a reader to a quarter of what mmap(2) gives (docs/performance.md). So a long run of pages is
// not filled but replaced by a mapping of the file, and is the kernel's business from then on. What the
// pager adds is fetching ahead: the reader finds the pages in the page table.
//
// Such a mapping is never taken back. Between an mmap(2) over it and the registration of what stands
// there then, a thread would read zeroes, and no call does both at once. So only runs are mapped, and no
// single pages: every run that lies apart takes up to two of the mappings that a process may have.
#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "base/last_error.h"
#include "base/page_size.h"
#include "pager/region.h"
#include "userfault/memory.h"

namespace userfault::pager {
namespace {

// Of a region. vm.max_map_count is 65,530 by default, and the program wants some of it.
constexpr std::size_t kMostRuns = 1024;

}  // namespace

std::size_t Region::mappable(PageSpan span) const noexcept {
  if (!maps_) return 0;
  // The last page of a store may end before its end, and behind a file zeroes may follow.
  std::size_t pages = stored_bytes(span) / page_size_;
  for (; pages != 0; pages /= 2) {
    const StoreFile file = store_->file(offset_of(span.first), pages * page_size_);
    if (file.fd >= 0) return file.offset % base::page_size() == 0 ? pages : 0;
  }
  return 0;
}

bool Region::map_file(PageSpan span) {
  check_owned(span);
  const PageRange range = range_of(span);
  const StoreFile file = store_->file(offset_of(span.first), range.length);
  const base::MutexLock lock(mapping_mutex_);
  const auto is_mapped = [this](std::size_t page) { return states_.get(page) == PageState::kMapped; };
  const bool after_one = span.first != 0 && is_mapped(span.first - 1);
  const bool before_one = span.end() < pages() && is_mapped(span.end());
  if (mapped_runs_ >= kMostRuns && !after_one && !before_one) return false;
  const memory::MapOptions over{.protection = PROT_READ,
                                .flags = MAP_SHARED | MAP_FIXED,
                                .fd = file.fd,
                                .offset = static_cast<off_t>(file.offset),
                                .start = range.start};
  if (!memory::map(range.length, over)) return false;
  // As the rest of the region; and neighbours become one mapping only if they are alike.
  (void)memory::advise(range, MADV_DONTFORK);
  mapped_runs_ = mapped_runs_ + 1 - (after_one ? 1 : 0) - (before_one ? 1 : 0);
  USERFAULT_CHECK(mapped_runs_ != 0 && mapped_runs_ <= kMostRuns, "the mapped runs of a region are miscounted");
  for (std::size_t page = span.first; page < span.end(); ++page) (void)states_.finish(page, PageState::kMapped);
  // Nothing else wakes a thread that waits for a page of memory that was mapped over (real-kernel row 44).
  wake(span);
  return true;
}

void Region::fetch_file(PageSpan span) const {
  const PageRange range = range_of(span);
  const StoreFile file = store_->file(offset_of(span.first), range.length);
  (void)::posix_fadvise(file.fd, static_cast<off_t>(file.offset), static_cast<off_t>(range.length),
                        POSIX_FADV_WILLNEED);
}

// Before Linux 5.14 (EINVAL) the thread that touches the pages has to find them.
bool Region::populate_file(PageSpan span) const {
  const PageRange range = range_of(span);
  return ::madvise(range.data(), range.length, kPopulateRead) == 0 || base::last_error() != EFAULT;
}

}  // namespace userfault::pager

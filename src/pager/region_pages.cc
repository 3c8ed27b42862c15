// SPDX-License-Identifier: Apache-2.0
// What is done to pages. Every function acts on pages that the caller owns.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include "base/last_error.h"
#include "base/page_size.h"
#include "pager/poison.h"
#include "pager/region.h"
#include "pager/sizes.h"
#include "userfault/memory.h"
#include "userfault/userfault.h"

namespace userfault::pager {

RetryPolicy Region::retry() const noexcept { return {.page_size = hardware_page_}; }

// ENOENT also means that the program has split the mapping (mprotect), replaced or unmapped a part
// of it (real-kernel row 31). Then each hardware page is done alone, and those that are no longer
// the region's need nothing.
template <typename Once>
Result<void> Region::piecewise(PageRange range, Once once) const {
  auto done = once(range, 0);
  if (done) return {};
  if (done.error().code != ENOENT) return Unexpected(done.error());
  for (std::size_t at = 0; at < range.length; at += hardware_page_) {
    done = once({range.start + at, hardware_page_}, at);
    if (!done && done.error().code != ENOENT) return Unexpected(done.error());
  }
  (void)descriptor_.wake(range);
  return {};
}

Result<void> Region::install(PageSpan span, const std::byte* bytes, bool protect) const {
  check_owned(span);
  const PageRange range = range_of(span);
  auto result = piecewise(range, [&](PageRange part, std::size_t at) {
    return descriptor_.copy_fully(part, bytes + at, {.write_protect = protect}, retry());
  });
  // The user engine leaves long runs to be mapped when they are touched: a prefetcher has the time to. Not on
  // the kernel's, which has mapped them, and where a page that is gone again would have to be waited for.
  if (result && range.length >= kLongCopy && descriptor_.engine() != EngineKind::kKernel)
    ::madvise(range.data(), range.length, kPopulateRead);
  return result;
}

Result<void> Region::install_zeroes(PageSpan span) const {
  check_owned(span);
  return piecewise(range_of(span),
                   [&](PageRange part, std::size_t) { return descriptor_.zeropage_fully(part, retry()); });
}

bool Region::protect(PageSpan span) const {
  check_owned(span);
  return piecewise(range_of(span),
                   [&](PageRange part, std::size_t) { return descriptor_.write_protect_fully(part, retry()); })
      .has_value();
}

// What is asked for is what is surely clean: an entry of the page table, or the marker that a protected page
// leaves there, that still says protected. All else may have been written: what was dropped without a
// marker, or with its page of the page table (Linux 6.14), and everything where the kernel does not tell.
std::vector<bool> Region::find_written(PageSpan span) const {
  constexpr std::uint64_t kThere = USERFAULT_PAGE_IS_PRESENT | USERFAULT_PAGE_IS_SWAPPED;
  const PageRange range = range_of(span);
  std::vector<std::uint16_t> clean(span.count);  // hardware pages of each page
  struct Found {
    std::uint64_t start;
    std::uint64_t end;
    std::uint64_t categories;
  };
  std::array<Found, 256> found;
  for (std::uint64_t at = range.start; at < range.end();) {
    userfault_scan scan{.size = sizeof scan,
                        .flags = 0,
                        .start = at,
                        .end = range.end(),
                        .walk_end = 0,
                        .vec = PageRange::of(found.data(), sizeof found).start,
                        .vec_len = found.size(),
                        .max_pages = 0,
                        .category_inverted = USERFAULT_PAGE_IS_WRITTEN,
                        .category_mask = USERFAULT_PAGE_IS_WRITTEN,
                        .category_anyof_mask = kThere,
                        .return_mask = USERFAULT_PAGE_IS_WRITTEN};
    const long count = ::userfault_pagemap_scan(&scan);
    if (count < 0 || scan.walk_end <= at) break;
    for (const Found& one : std::span(found).first(static_cast<std::size_t>(count)))
      for (std::uint64_t there = one.start; there < one.end; there += hardware_page_)
        ++clean[(there - range.start) / page_size_];
    at = scan.walk_end;
  }
  std::vector<bool> written(span.count);
  for (std::size_t i = 0; i < span.count; ++i) written[i] = clean[i] != page_size_ / hardware_page_;
  return written;
}

// What cannot be had here is memory that is no longer the region's, or a process that ends.
void Region::allow_writes(std::size_t page) const {
  check_owned({page, 1});
  (void)piecewise(range_of({page, 1}),
                  [&](PageRange part, std::size_t) { return descriptor_.write_unprotect_fully(part, retry()); });
}

// ENOMEM: a part of it is not mapped any more, and the rest is done (madvise(2)).
bool Region::hide(PageSpan span) const {
  check_owned(span);
  const auto done = memory::advise(range_of(span), MADV_DONTNEED);
  return done || done.error().code == ENOMEM;
}

int Region::show(std::size_t page, bool protect) const {
  check_owned({page, 1});
  const auto done = piecewise(range_of({page, 1}), [&](PageRange part, std::size_t) {
    return descriptor_.resume_fully(part, {.write_protect = protect}, retry());
  });
  return done ? 0 : done.error().code;
}

// Copied first and looked for holes afterwards: the owner of a page is the only one to fill it, so
// what is no hole then was none while it was copied. Reading a hole makes no page. Huge pages know
// no holes: what was removed from them reads as zeroes here. Page by page, because SEEK_HOLE walks to the
// end of the object where there is none: 190 us for one page of 64 MiB.
int Region::snapshot(PageSpan span, std::byte* into, std::vector<Part>& real) const {
  USERFAULT_CHECK(managed(), "pages are copied out of memory that has no file");
  check_owned(span);
  const auto start = static_cast<off_t>(offset_of(span.first));
  const std::size_t length = stored_bytes(span);
  for (std::size_t at = 0; at < length;) {
    const ssize_t got = ::pread(object_.get(), into + at, length - at, start + static_cast<off_t>(at));
    if (got < 0 && base::last_error() == EINTR) continue;
    if (got <= 0) return got < 0 ? base::last_error() : EIO;
    at += static_cast<std::size_t>(got);
  }
  if (hardware_page_ == kHugePage) {
    real.push_back({0, length});
    return 0;
  }
  const off_t end = start + static_cast<off_t>(length);
  std::size_t joins = 0;  // where the last part ends
  for (off_t at = start; at < end;) {
    const off_t data = ::lseek(object_.get(), at, SEEK_DATA);
    if (data < 0 || data >= end) return data < 0 && base::last_error() != ENXIO ? base::last_error() : 0;
    const auto offset = static_cast<std::size_t>(data - start);
    at = std::min(data + static_cast<off_t>(hardware_page_), end);
    const auto bytes = static_cast<std::size_t>(at - data);
    if (offset != joins || joins == 0) real.push_back({offset, 0});
    real.back().length += bytes;
    joins = offset + bytes;
  }
  return 0;
}

// The user engine has to hear that the pages are missing. The kernel sees the hole by itself.
bool Region::drop(PageSpan span) const {
  USERFAULT_CHECK(managed(), "pages are dropped whose memory cannot be given back");
  check_owned(span);
  if (descriptor_.engine() != EngineKind::kKernel && !hide(span)) return false;
  return ::fallocate(object_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(offset_of(span.first)), static_cast<off_t>(span.count * page_size_)) == 0;
}

// A page that was protected leaves a marker behind when it goes, and UFFDIO_POISON overwrites nothing, no marker
// either (mfill_atomic_pte_poison): it would say EEXIST, and the thread come back with the same fault for ever. The
// marker goes with the protection, and wakes no thread: one that was woken between the two would fault once more.
void Region::poison(std::size_t page) const {
  check_owned({page, 1});
  const auto unprotect = [&](PageRange part, std::size_t) { return descriptor_.write_unprotect(part, false); };
  if (writable_) (void)piecewise(range_of({page, 1}), unprotect);
  poison_range(descriptor_, range_of({page, 1}), retry());
}

void Region::wake(PageSpan span) const { (void)descriptor_.wake(range_of(span)); }

bool Region::surely_present(std::uintptr_t address) const {
  // mincore(2) tells for the kernel's engine; the user engine keeps what is missing in ways that it cannot see.
  if (descriptor_.engine() != EngineKind::kKernel) return false;
  const PageRange page{address & ~(base::page_size() - 1), base::page_size()};
  unsigned char there = 0;
  return ::mincore(page.data(), page.length, &there) == 0 && (there & 1) != 0;
}

}  // namespace userfault::pager

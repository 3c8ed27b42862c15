// SPDX-License-Identifier: Apache-2.0
#include "engine/user/proc/pagemap.h"

#include <fcntl.h>

#include "engine/user/rt/check.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {

Pagemap::Pagemap() noexcept : fd_(static_cast<int>(sys::openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC))) {}

Pagemap::~Pagemap() {
  if (fd_ >= 0) sys::close(fd_);
}

std::size_t Pagemap::read(std::uintptr_t start, std::uint64_t* entries, std::size_t count,
                          std::size_t base_page) const noexcept {
  const long got =
      sys::pread(fd_, entries, count * sizeof *entries, static_cast<long>(start / base_page * sizeof *entries));
  return got < 0 ? 0 : static_cast<std::size_t>(got) / sizeof *entries;
}

bool Pagemap::next_populated(std::uintptr_t* at, std::uintptr_t end, std::size_t page_size,
                             PopulatedRun* run) const noexcept {
  USERFAULT_INVARIANT(is_page_aligned(*at) && is_page_aligned(end) && is_page_aligned(page_size),
                      "the page table was asked for parts of pages");
  constexpr std::size_t kBatch = 256;
  std::uint64_t entries[kBatch];
  run->start = run->end = 0;
  while (*at < end) {
    std::size_t count = page_size == kPageSize ? (end - *at) / kPageSize : 1;
    if (count > kBatch) count = kBatch;
    const std::size_t got = read(*at, entries, count);
    if (got == 0) break;
    for (std::size_t i = 0; i < got; ++i) {
      const bool populated = entry_has_content(entries[i]);
      if (populated && run->start == run->end) run->start = run->end = *at;
      if (!populated && run->start != run->end) return true;
      *at += page_size;
      if (populated) run->end = *at;
    }
  }
  return run->start != run->end;
}

std::uint64_t pagemap_entry(std::uintptr_t address) noexcept {
  const Pagemap pagemap;
  std::uint64_t entry;
  return pagemap.read(address, &entry, 1) == 1 ? entry : kUnknownEntry;
}

bool is_populated(std::uintptr_t address) noexcept { return entry_has_content(pagemap_entry(address)); }

}  // namespace userfault::engine::user

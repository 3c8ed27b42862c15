// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/memfd_pool.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/resource.h>

#include <cerrno>
#include <iterator>

#include "engine/user/rt/check.h"
#include "engine/user/rt/high_fd.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/rt/process_identity.h"

namespace userfault::engine::user {
namespace {

struct Memfd {
  int fd = -1;
  std::size_t bytes = 0;
  unsigned page_shift = 0;
  std::size_t extents = 0;  // 0: the slot is free
  bool owned = false;       // false: the parent's
};

// In the child of a fork the parent's memfds are there until the child has copied from them. The rest is for page
// sizes that come late: each has one memfd at least.
constexpr std::size_t kPageSizes = 16;
constinit Memfd memfds[2 * (kMemfdsOfOne + kPageSizes)];

long within_file_size_limit(std::size_t bytes) noexcept {
  rlimit limit{};
  const long asked = raw_syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_long(&limit));
  return asked < 0 || bytes <= limit.rlim_cur ? 0 : -ENOMEM;
}

int make_memfd(unsigned page_shift) noexcept {
  const unsigned flags = MFD_CLOEXEC | (page_shift > kPageShift ? MFD_HUGETLB | (page_shift << MFD_HUGE_SHIFT) : 0);
  const long made = raw_syscall(SYS_memfd_create, as_long("userfault"), static_cast<long>(flags));
  if (made < 0) return static_cast<int>(made);
  const int fd = out_of_the_way(static_cast<int>(made));
  if (fd != made) return fd;
  // One descriptor has to be left: registration itself opens /proc files for a moment.
  const long spare = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
  sys::close(static_cast<int>(spare < 0 ? fd : spare));
  return spare < 0 ? static_cast<int>(spare) : fd;
}

long enlarge(Memfd& memfd, std::size_t bytes) noexcept {
  if (const long result = within_file_size_limit(bytes); result < 0) return result;
  const long result = raw_syscall(SYS_ftruncate, memfd.fd, static_cast<long>(bytes));
  if (result == 0) memfd.bytes = bytes;
  return result;
}

long put(Memfd& memfd, MemfdPlace& place, std::size_t bytes) noexcept {
  USERFAULT_INVARIANT(memfd.fd >= 0 && memfd.page_shift >= kPageShift,
                      "a memfd of the pool was used before it was made");
  // A page stays free between two extents: the kernel would make one mapping of neighbours.
  const std::size_t at = memfd.extents == 0 ? 0 : memfd.bytes + (std::size_t{1} << memfd.page_shift);
  if (const long result = enlarge(memfd, at + bytes); result < 0) return result;
  ++memfd.extents;
  place = {.fd = memfd.fd, .fd_offset = static_cast<long>(at), .memfd = static_cast<int>(&memfd - memfds)};
  return 0;
}

Memfd* free_slot() noexcept {
  for (Memfd& memfd : memfds)
    if (memfd.extents == 0) return &memfd;
  return nullptr;
}

long put_into_new(MemfdPlace& place, std::size_t bytes, unsigned page_shift) noexcept {
  Memfd* memfd = free_slot();
  if (memfd == nullptr) return -ENOMEM;
  const int fd = make_memfd(page_shift);
  if (fd < 0) return fd;
  *memfd = {.fd = fd, .page_shift = page_shift, .owned = true};
  const long result = put(*memfd, place, bytes);
  if (result < 0) sys::close(fd);
  return result;
}

struct Choice {
  Memfd* least = nullptr;  // used
  std::size_t count = 0;   // of memfds, of any page size
};

Choice choose(unsigned page_shift) noexcept {
  Choice choice;
  for (Memfd& memfd : memfds) {
    if (memfd.extents == 0 || !memfd.owned) continue;
    ++choice.count;
    if (memfd.page_shift != page_shift) continue;
    if (choice.least == nullptr || memfd.extents < choice.least->extents) choice.least = &memfd;
  }
  return choice;
}

void leave_hole(const Memfd& memfd, const MemfdPlace& place, std::size_t bytes) noexcept {
  // A copy of the process that a raw clone(2) made has the parent's table, and its memfds.
  if (!memfd.owned || !is_own_process()) return;
  sys::punch_hole(place.fd, place.fd_offset, bytes);
}

}  // namespace

long take_place(MemfdPlace& place, std::size_t bytes, unsigned page_shift) noexcept {
  USERFAULT_INVARIANT(place.fd < 0 && place.memfd < 0, "an extent took a second place in a memfd");
  USERFAULT_INVARIANT(bytes != 0 && bytes >> page_shift << page_shift == bytes,
                      "a place in a memfd is not whole pages");
  const Choice choice = choose(page_shift);
  const bool shares = choice.least != nullptr && choice.count >= kMemfdsOfOne;
  if (shares && put(*choice.least, place, bytes) == 0) return 0;
  long result = put_into_new(place, bytes, page_shift);
  // Without a descriptor to spare they share earlier.
  if (result < 0 && choice.least != nullptr && !shares) result = put(*choice.least, place, bytes);
  return result < 0 ? -ENOMEM : 0;
}

void release_place(MemfdPlace& place, std::size_t bytes) noexcept {
  USERFAULT_INVARIANT(place.memfd < static_cast<int>(std::size(memfds)), "a place is in a memfd that there is not");
  if (place.memfd < 0) {
    if (place.fd >= 0) sys::close(place.fd);
  } else {
    Memfd& memfd = memfds[place.memfd];
    USERFAULT_INVARIANT(memfd.extents > 0 && memfd.fd == place.fd, "a memfd of the pool was released too often");
    if (--memfd.extents == 0) sys::close(memfd.fd);
    else leave_hole(memfd, place, bytes);
  }
  place.fd = place.memfd = -1;
}

void disown_memfds() noexcept {
  for (Memfd& memfd : memfds) memfd.owned = false;
}

}  // namespace userfault::engine::user

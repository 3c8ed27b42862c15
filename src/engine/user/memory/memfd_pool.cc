// SPDX-License-Identifier: Apache-2.0
#include "engine/user/memory/memfd_pool.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/resource.h>

#include <cerrno>

#include "engine/user/rt/high_fd.h"
#include "engine/user/rt/process_identity.h"

namespace userfault::engine::user {
namespace {

struct Object {
  int fd = -1;
  std::size_t bytes = 0;
  unsigned page_shift = 0;
  std::size_t extents = 0;  // 0: the slot is free
  bool ours = false;        // false: the parent's
};

// Those of the parent of a fork are there until the child has copied from them. The rest is for page sizes
// that come late: each has one object at least.
constexpr std::size_t kPageSizes = 16;
constinit Object objects[2 * (kObjectsOfOne + kPageSizes)];

long within_file_size_limit(std::size_t bytes) noexcept {
  rlimit limit{};
  const long asked = raw_syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_long(&limit));
  return asked < 0 || bytes <= limit.rlim_cur ? 0 : -ENOMEM;
}

int make_memfd(unsigned page_shift) noexcept {
  const unsigned flags = MFD_CLOEXEC | (page_shift > 12 ? MFD_HUGETLB | (page_shift << MFD_HUGE_SHIFT) : 0);
  const long made = raw_syscall(SYS_memfd_create, as_long("userfault"), static_cast<long>(flags));
  if (made < 0) return static_cast<int>(made);
  const int fd = out_of_the_way(static_cast<int>(made));
  if (fd != made) return fd;
  // The last one is not for us: registration itself opens /proc files for a moment.
  const long spare = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
  sys::close(static_cast<int>(spare < 0 ? fd : spare));
  return spare < 0 ? static_cast<int>(spare) : fd;
}

long enlarge(Object& object, std::size_t bytes) noexcept {
  if (const long result = within_file_size_limit(bytes); result < 0) return result;
  const long result = raw_syscall(SYS_ftruncate, object.fd, static_cast<long>(bytes));
  if (result == 0) object.bytes = bytes;
  return result;
}

long put(Object& object, Extent& extent) noexcept {
  // A page stays free between two extents: the kernel would make one mapping of neighbours.
  const std::size_t at = object.extents == 0 ? 0 : object.bytes + extent.page_size();
  if (const long result = enlarge(object, at + (extent.pages << extent.page_shift)); result < 0) return result;
  ++object.extents;
  extent.object = static_cast<int>(&object - objects);
  extent.fd = object.fd;
  extent.fd_offset = static_cast<long>(at);
  return 0;
}

Object* free_slot() noexcept {
  for (Object& object : objects)
    if (object.extents == 0) return &object;
  return nullptr;
}

long put_into_new(Extent& extent) noexcept {
  Object* object = free_slot();
  if (object == nullptr) return -ENOMEM;
  const int fd = make_memfd(extent.page_shift);
  if (fd < 0) return fd;
  *object = {.fd = fd, .page_shift = extent.page_shift, .ours = true};
  const long result = put(*object, extent);
  if (result < 0) sys::close(fd);
  return result;
}

struct Choice {
  Object* least = nullptr;  // used
  std::size_t count = 0;    // of objects, of any page size
};

Choice choose(unsigned page_shift) noexcept {
  Choice choice;
  for (Object& object : objects) {
    if (object.extents == 0 || !object.ours) continue;
    ++choice.count;
    if (object.page_shift != page_shift) continue;
    if (choice.least == nullptr || object.extents < choice.least->extents) choice.least = &object;
  }
  return choice;
}

void leave_hole(const Object& object, const Extent& extent) noexcept {
  // A copy of the process that was made past us has the parent's table, and its objects.
  if (!object.ours || !is_own_process()) return;
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  sys::fallocate(extent.fd, kPunch, extent.fd_offset, static_cast<long>(extent.pages << extent.page_shift));
}

}  // namespace

long place_extent(Extent& extent) noexcept {
  const Choice choice = choose(extent.page_shift);
  const bool shares = choice.least != nullptr && choice.count >= kObjectsOfOne;
  if (shares && put(*choice.least, extent) == 0) return 0;
  long result = put_into_new(extent);
  // Without a descriptor to spare they share earlier.
  if (result < 0 && choice.least != nullptr && !shares) result = put(*choice.least, extent);
  return result < 0 ? -ENOMEM : 0;
}

void release_place(Extent& extent) noexcept {
  if (extent.object < 0) {
    if (extent.fd >= 0) sys::close(extent.fd);
  } else if (Object& object = objects[extent.object]; --object.extents == 0) {
    sys::close(object.fd);
  } else {
    leave_hole(object, extent);
  }
  extent.fd = extent.object = -1;
}

void disown_objects() noexcept {
  for (Object& object : objects) object.ours = false;
}

}  // namespace userfault::engine::user

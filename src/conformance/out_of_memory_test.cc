// SPDX-License-Identifier: Apache-2.0
// ENOMEM: a full tmpfs for the pages themselves, and a memory cgroup for page tables.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "support/memory_limit.h"
#include "support/operations.h"
#include "support/test.h"

namespace userfault::conformance {
namespace {

void write_map(const char* path, const std::string& text) {
  const int file = ::open(path, O_WRONLY | O_CLOEXEC);
  const bool written = file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (!written)
    throw Skip(std::string("a small tmpfs needs root or a mapped user: ") + path + ": " + std::strerror(errno));
  ::close(file);
}

// Gives this process, which must be single-threaded, the right to mount; as root it has it.
void become_able_to_mount() {
  if (::geteuid() == 0) return;
  const std::string user = "0 " + std::to_string(::geteuid()) + " 1";
  const std::string group = "0 " + std::to_string(::getegid()) + " 1";
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    throw Skip(std::string("a small tmpfs needs root or user namespaces: ") + std::strerror(errno));
  write_map("/proc/self/uid_map", user);
  write_map("/proc/self/setgroups", "deny");
  write_map("/proc/self/gid_map", group);
}

// A file in a tmpfs of its own that is mounted nowhere and has room for `room` bytes.
int file_in_small_tmpfs(std::size_t room) {
  become_able_to_mount();
  const int context = ::fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (context < 0 || ::fsconfig(context, FSCONFIG_SET_STRING, "size", std::to_string(room).c_str(), 0) != 0 ||
      ::fsconfig(context, FSCONFIG_SET_STRING, "mode", "1777", 0) != 0 ||
      ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    throw Skip(std::string("a small tmpfs cannot be made: ") + std::strerror(errno));
  const int mount = ::fsmount(context, FSMOUNT_CLOEXEC, 0);
  const int file = mount < 0 ? -1 : ::openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) throw Skip(std::string("a small tmpfs takes no file: ") + std::strerror(errno));
  return file;
}

CONFORMANCE_TEST(OutOfMemory, TmpfsIsFull, "COPY-04 ZERO-01 GEN-05", Backings::kTmpfs) {
  constexpr std::size_t kPage = 4096;
  const int file = file_in_small_tmpfs(3 * kPage);
  ASSERT_EQ(::ftruncate(file, 6 * kPage), 0);
  auto* view = static_cast<char*>(::mmap(nullptr, 6 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  ASSERT_NE(static_cast<void*>(view), MAP_FAILED);
  const auto at = [&](std::size_t page, std::size_t count) {
    return Range{reinterpret_cast<std::uintptr_t>(view + page * kPage), count * kPage};
  };
  Uffd uffd(ctx);
  uffd.must_register(at(0, 6), kMissing);
  const auto source = pattern(6 * kPage, 1);
  EXPECT_EQ(uffd.copy(at(0, 1), source.data()), Done(kPage));
  EXPECT_EQ(uffd.copy(at(1, 4), source.data()), Fails(EAGAIN, 2 * kPage));
  expect_pattern(view + kPage, 2 * kPage, 1);
  Faulter faulter = expect_read_faults(uffd, view + 3 * kPage);
  EXPECT_EQ(uffd.copy(at(3, 1), source.data()), Fails(ENOMEM, -ENOMEM));
  EXPECT_EQ(uffd.zeropage(at(3, 1)), Fails(ENOMEM, -ENOMEM));
  faulter.expect_waiting();
  ASSERT_EQ(userfault_madvise(view, kPage, MADV_REMOVE), 0);
  EXPECT_EQ(uffd.zeropage(at(3, 1)), Done(kPage));
  EXPECT_EQ(faulter.join().value, 0u);
}

// One page of the backing in many places, each of which needs a page table of its own. The kernel
// takes memory in advance from a cgroup, for as many tables as would be one batch; hence so many.
class Scattered {
 public:
  static constexpr std::size_t kPlaces = 192;

  Scattered(const Context& ctx, const Uffd& uffd, const Filling& filling)
      : ground_(ctx, uffd, filling, 1), page_(ground_.map.page_size()), stride_(page_ * 512) {
    void* reserved =
        ::mmap(nullptr, (kPlaces + 1) * stride_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) throw Broken("mmap of a reservation");
    base_ = (reinterpret_cast<std::uintptr_t>(reserved) + stride_ - 1) & ~(stride_ - 1);
    for (std::size_t place = 0; place < kPlaces; ++place) {
      map_at(ctx.backing, reinterpret_cast<void*>(base_ + place * stride_));
      uffd.must_register(range(place), filling.modes);
    }
  }
  [[nodiscard]] Range range(std::size_t place) const { return {base_ + place * stride_, page_}; }
  [[nodiscard]] Outcome call(const Uffd& uffd, std::size_t place) const { return ground_.call(uffd, range(place)); }
  [[nodiscard]] std::size_t page() const { return page_; }

 private:
  void map_at(Backing backing, void* place) const {
    constexpr int kReadWrite = PROT_READ | PROT_WRITE;
    constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    void* view = nullptr;
    if (backing == Backing::kPrivateAnonymous) view = userfault_mmap(place, page_, kReadWrite, kAnonymous, -1, 0);
    else if (backing == Backing::kHugetlbPrivate)
      view = userfault_mmap(place, page_, kReadWrite, kAnonymous | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
    else if (ground_.map.file() >= 0)
      view = userfault_mmap(place, page_, kReadWrite, MAP_SHARED | MAP_FIXED, ground_.map.file(), 0);
    else view = userfault_mremap(ground_.map.alias(0), 0, page_, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    if (view != place) throw Broken("mmap at a fixed place");
  }

  Ground ground_;
  std::size_t page_;
  std::size_t stride_;
  std::uintptr_t base_ = 0;
};

// Fills place after place until there is no memory for the page table, then goes on with more.
void expect_enomem(const Context& ctx, unsigned long request) {
  MemoryLimit limit;
  const Uffd uffd(ctx);
  for (const Filling& filling : fillings(ctx)) {
    if (filling.request != request) continue;
    const Scattered memory(ctx, uffd, filling);
    std::size_t place = 0;
    // The stand-in's own memory for each place: a shortage there is the out-of-memory killer's business.
    if (ctx.stand_in && request == USERFAULT_IOC_COPY)
      for (std::size_t each = 0; each < Scattered::kPlaces; ++each) (void)uffd.copy(memory.range(each), nullptr);
    limit.rehearse();
    Outcome outcome = memory.call(uffd, place++);
    (void)memory.call(uffd, 0);
    limit.thaw();
    EXPECT_EQ(outcome, Done(memory.page()));
    limit.freeze();
    while (outcome.result == 0 && place < Scattered::kPlaces) outcome = memory.call(uffd, place++);
    limit.thaw();
    if (outcome.result == 0 && request != USERFAULT_IOC_COPY)
      ctx.differs_on_user("CONT-04 POIS-04: the two need no page table");
    if (outcome.result == 0) throw Skip("page tables are not charged to a memory cgroup here");
    EXPECT_EQ(outcome, Fails(ENOMEM, -ENOMEM)) << filling.name << " at place " << place;
    EXPECT_EQ(memory.call(uffd, place - 1), Done(memory.page())) << filling.name;
    return;
  }
  throw Skip("the operation is not offered");
}

CONFORMANCE_TEST(OutOfMemory, Continue, "CONT-04", Backings::kShared) { expect_enomem(ctx, USERFAULT_IOC_CONTINUE); }

CONFORMANCE_TEST(OutOfMemory, Poison, "POIS-04", Backings::kAll) { expect_enomem(ctx, USERFAULT_IOC_POISON); }

CONFORMANCE_TEST(OutOfMemory, Copy, "COPY-05", Backings::kPrivate) { expect_enomem(ctx, USERFAULT_IOC_COPY); }

}  // namespace
}  // namespace userfault::conformance

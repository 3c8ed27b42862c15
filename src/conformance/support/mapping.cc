// SPDX-License-Identifier: Apache-2.0
#include "support/mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

namespace userfault::conformance {
namespace {

constexpr int kHuge2MiB = 21 << MFD_HUGE_SHIFT;
constexpr const char* kPool = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

[[noreturn]] void broken(const char* what) { throw Broken(std::string(what) + ": " + std::strerror(errno)); }

char* checked(void* address, const char* what) {
  if (address == MAP_FAILED) broken(what);
  return static_cast<char*>(address);
}

char* map_file(int fd, std::size_t bytes) {
  return checked(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), "mmap of a file");
}

int sized(int fd, std::size_t bytes, const char* what) {
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) broken(what);
  return fd;
}

// /dev/shm is where every distribution mounts a tmpfs that all users may write to.
int open_tmpfs(std::size_t bytes) {
  struct statfs info;
  if (::statfs("/dev/shm", &info) != 0 || info.f_type != TMPFS_MAGIC) throw Skip("no tmpfs is mounted at /dev/shm");
  const int fd = ::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) throw Skip("no file can be made in /dev/shm: " + std::string(std::strerror(errno)));
  return sized(fd, bytes, "ftruncate of a tmpfs file");
}

// Mapping with no old size makes a second view of a shared mapping (mremap(2)).
char* duplicate(char* view, std::size_t bytes) {
  return checked(userfault_mremap(view, 0, bytes, MREMAP_MAYMOVE, nullptr), "mremap with an old size of 0");
}

long pool_value(const char* name) {
  long value = -1;
  std::ifstream(std::string(kPool) + name) >> value;
  return value;
}

// Grows the pool of huge pages by what is missing; the lock keeps runs side by side from counting
// on the same pages. Never lowers it.
void ensure_huge_pages(std::size_t wanted) {
  const int lock = ::open("/tmp/.userfault-hugepages", O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (lock >= 0) (void)::flock(lock, LOCK_EX);
  const long total = pool_value("nr_hugepages");
  const long usable = pool_value("free_hugepages") - pool_value("resv_hugepages");
  const long missing = static_cast<long>(wanted) - usable;
  if (total >= 0 && missing > 0) std::ofstream(std::string(kPool) + "nr_hugepages") << total + missing;
  if (lock >= 0) ::close(lock);
}

std::string no_huge_pages(std::size_t wanted) {
  return std::to_string(wanted) + " huge pages of 2 MiB are not free and cannot be had (" +
         std::to_string(pool_value("free_hugepages")) + " free): raise vm.nr_hugepages";
}

int open_hugetlb(std::size_t bytes) {
  const int fd = ::memfd_create("conformance", MFD_CLOEXEC | MFD_HUGETLB | kHuge2MiB);
  if (fd < 0) throw Skip("memfd_create with MFD_HUGETLB: " + std::string(std::strerror(errno)));
  return sized(fd, bytes, "ftruncate of a huge memfd");
}

char* map_huge(int flags, int fd, std::size_t bytes, std::size_t pages) {
  // Once more after growing the pool, and once for a neighbour who took what was grown.
  for (int attempt = 0; attempt < 3; ++attempt) {
    void* view = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (view != MAP_FAILED) return static_cast<char*>(view);
    ensure_huge_pages(pages);
  }
  throw Skip(no_huge_pages(pages));
}

}  // namespace

Mapping::Mapping(const Context& context, std::size_t pages)
    : page_size_(page_size_of(context.backing == Backing::kNone ? Backing::kPrivateAnonymous : context.backing)),
      pages_(pages) {
  map(context);
}

void Mapping::map(const Context& context) {
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;
  const std::size_t bytes = size();
  switch (context.backing) {
    case Backing::kNone:
    case Backing::kPrivateAnonymous:
      view_ = checked(::mmap(nullptr, bytes, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "mmap");
      // Transparent huge pages would populate more than the page under test.
      (void)::madvise(view_, bytes, MADV_NOHUGEPAGE);
      return;
    case Backing::kSharedAnonymous:
      view_ = checked(::mmap(nullptr, bytes, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0), "mmap");
      alias_ = duplicate(view_, bytes);
      return;
    case Backing::kMemfd: file_ = sized(::memfd_create("conformance", MFD_CLOEXEC), bytes, "memfd_create"); break;
    case Backing::kTmpfs: file_ = open_tmpfs(bytes); break;
    case Backing::kSystemV: {
      const int id = ::shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
      if (id < 0) broken("shmget");
      view_ = checked(::shmat(id, nullptr, 0), "shmat");
      alias_ = checked(::shmat(id, nullptr, 0), "shmat");
      ::shmctl(id, IPC_RMID, nullptr);
      return;
    }
    case Backing::kDevZero: {
      const int zero = ::open("/dev/zero", O_RDWR | O_CLOEXEC);
      if (zero < 0) broken("open /dev/zero");
      view_ = map_file(zero, bytes);
      alias_ = duplicate(view_, bytes);
      ::close(zero);
      return;
    }
    case Backing::kHugetlbShared:
      file_ = open_hugetlb(bytes);
      view_ = map_huge(MAP_SHARED, file_, bytes, pages_);
      alias_ = map_huge(MAP_SHARED, file_, bytes, pages_);
      return;
    case Backing::kHugetlbPrivate:
      view_ = map_huge(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | kHuge2MiB, -1, bytes, pages_);
      return;
  }
  view_ = map_file(file_, bytes);
  alias_ = map_file(file_, bytes);
}

char* Mapping::alias(std::size_t index) const {
  if (alias_ == nullptr) throw Broken("private memory has no second view");
  return alias_ + index * page_size_;
}

// The finaliser of splitmix64: cheap, and no word repeats within a page.
std::uint64_t pattern_word(std::uint64_t seed, std::size_t index) {
  std::uint64_t word = (seed << 32) + index + 0x9e3779b97f4a7c15u;
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
  word = (word ^ word >> 27) * 0x94d049bb133111ebu;
  return word ^ word >> 31;
}

void fill_pattern(void* memory, std::size_t bytes, std::uint64_t seed) {
  auto* words = static_cast<std::uint64_t*>(memory);
  for (std::size_t i = 0; i < bytes / sizeof *words; ++i) words[i] = pattern_word(seed, i);
}

std::vector<std::uint64_t> pattern(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::uint64_t> result(bytes / sizeof(std::uint64_t));
  fill_pattern(result.data(), bytes, seed);
  return result;
}

void expect_pattern(const void* memory, std::size_t bytes, std::uint64_t seed) {
  const auto* words = static_cast<const volatile std::uint64_t*>(memory);
  for (std::size_t i = 0; i < bytes / sizeof *words; ++i) {
    const std::uint64_t seen = words[i];
    if (seen == pattern_word(seed, i)) continue;
    ADD_FAILURE() << "word " << i << " of the page at " << memory << " holds " << std::hex << seen << " instead of "
                  << pattern_word(seed, i) << " (pattern " << std::dec << seed << ")";
    return;
  }
}

void expect_zero(const void* memory, std::size_t bytes) {
  const auto* words = static_cast<const volatile std::uint64_t*>(memory);
  for (std::size_t i = 0; i < bytes / sizeof *words; ++i) {
    const std::uint64_t seen = words[i];
    if (seen == 0) continue;
    ADD_FAILURE() << "word " << i << " of the page at " << memory << " holds " << std::hex << seen << " instead of 0";
    return;
  }
}

}  // namespace userfault::conformance

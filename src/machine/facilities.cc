// SPDX-License-Identifier: Apache-2.0
// What the user engine and the tools build on beside userfaultfd, each tried for real on memory of
// its own.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "base/fd.h"
#include "base/page_size.h"
#include "machine/probe.h"

namespace userfault::machine {
namespace {

constexpr int kMadvGuardInstall = 102;  // Linux 6.13 anonymous, 6.15 files
constexpr int kMadvGuardRemove = 103;
constexpr std::uint64_t kPagemapSoftDirty = std::uint64_t{1} << 55;  // pagemap.rst

// One page of memory; or errno.
class Page {
 public:
  Page(int protection, int flags, int file = -1)
      : memory_(::mmap(nullptr, base::page_size(), protection, flags, file, 0)), error_(errno) {}
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() {
    if (mapped()) ::munmap(memory_, base::page_size());
  }
  [[nodiscard]] bool mapped() const { return memory_ != MAP_FAILED; }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] void* data() const { return memory_; }
  [[nodiscard]] std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(memory_); }
  [[nodiscard]] volatile char& byte() const { return *static_cast<volatile char*>(memory_); }

 private:
  void* memory_;
  int error_;
};

int guard(const Page& page) {
  if (!page.mapped()) return page.error();
  if (::madvise(page.data(), base::page_size(), kMadvGuardInstall) != 0) return errno;
  return ::madvise(page.data(), base::page_size(), kMadvGuardRemove) == 0 ? 0 : errno;
}

int guard_anonymous() { return guard(Page(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)); }
int guard_file() { return guard(Page(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS)); }

// A fresh mapping is soft-dirty from the start, so one look is enough; writing to clear_refs would
// disturb whoever tracks this process.
int soft_dirty() {
  const Page page(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!page.mapped()) return page.error();
  page.byte() = 1;
  const base::Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return errno;
  std::uint64_t entry = 0;
  const auto offset = static_cast<off_t>(page.address() / base::page_size() * sizeof entry);
  if (::pread(pagemap.get(), &entry, sizeof entry, offset) != sizeof entry) return errno;
  return (entry & kPagemapSoftDirty) != 0 ? 0 : ENOSYS;
}

int pagemap_scan() {
  const Page page(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!page.mapped()) return page.error();
  page.byte() = 1;
  const base::Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return errno;
  userfault_page_region region{};
  userfault_scan scan{.size = sizeof scan,
                      .flags = 0,
                      .start = page.address(),
                      .end = page.address() + base::page_size(),
                      .walk_end = 0,
                      .vec = reinterpret_cast<std::uintptr_t>(&region),
                      .vec_len = 1,
                      .max_pages = 0,
                      .category_inverted = 0,
                      .category_mask = USERFAULT_PAGE_IS_PRESENT,
                      .category_anyof_mask = 0,
                      .return_mask = USERFAULT_PAGE_IS_PRESENT};
  const int count = ::ioctl(pagemap.get(), USERFAULT_PAGEMAP_SCAN, &scan);
  if (count < 0) return errno;
  return count == 1 ? 0 : ENODATA;
}

// struct procmap_query of <linux/fs.h>, Linux 6.11: the mapping at or after an address.
struct MappingQuery {
  std::uint64_t size, flags, address;
  std::uint64_t answer[6];
  std::uint32_t device[2], sizes[2];
  std::uint64_t buffers[2];
};
constexpr unsigned long kProcmapQuery = (3UL << 30) | (sizeof(MappingQuery) << 16) | (0x66UL << 8) | 17UL;

int procmap_query() {
  const base::Fd maps(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  if (!maps.valid()) return errno;
  MappingQuery query{};
  query.size = sizeof query;
  query.address = reinterpret_cast<std::uintptr_t>(&query);
  return ::ioctl(maps.get(), kProcmapQuery, &query) == 0 ? 0 : errno;
}

// proc_mem.force_override and ptrace rules decide (Documentation/admin-guide/kernel-parameters.txt).
int proc_mem_force() {
  const Page page(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!page.mapped()) return page.error();
  const base::Fd memory(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  if (!memory.valid()) return errno;
  const char byte = 1;
  return ::pwrite(memory.get(), &byte, 1, static_cast<off_t>(page.address())) == 1 ? 0 : errno;
}

int process_vm() {
  char from = 1;
  char to = 0;
  const iovec local{&from, 1};
  const iovec remote{&to, 1};
  return ::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0) == 1 && to == 1 ? 0 : errno;
}

// An old size of zero duplicates a shared mapping (mremap(2)).
int mremap_alias() {
  const Page page(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  if (!page.mapped()) return page.error();
  void* const alias = ::mremap(page.data(), 0, base::page_size(), MREMAP_MAYMOVE);
  if (alias == MAP_FAILED) return errno;
  page.byte() = 7;
  const bool same = *static_cast<volatile char*>(alias) == 7;
  ::munmap(alias, base::page_size());
  return same ? 0 : ENODATA;
}

int memfd(unsigned flags) {
  const base::Fd file(::memfd_create("userfault probe", MFD_CLOEXEC | flags));
  return file.valid() ? 0 : errno;
}
int memfd_small() { return memfd(0); }
int memfd_huge() { return memfd(MFD_HUGETLB); }

int memory_lock() {
  const Page page(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!page.mapped()) return page.error();
  return ::mlock(page.data(), base::page_size()) == 0 ? 0 : errno;
}

struct Trial {
  const char* name;
  const char* purpose;
  int (*run)();
};

constexpr std::array kTrials{
    Trial{"guard-pages-anonymous", "missing pages without a mapping each (Linux 6.13)", guard_anonymous},
    Trial{"guard-pages-shared", "the same for shared memory (Linux 6.15)", guard_file},
    Trial{"soft-dirty", "written pages without userfaultfd", soft_dirty},
    Trial{"pagemap-scan", "written pages of FEATURE_WP_ASYNC (Linux 6.7)", pagemap_scan},
    Trial{"procmap-query", "mappings without parsing text (Linux 6.11)", procmap_query},
    Trial{"proc-mem-force", "filling a protected page through /proc/self/mem", proc_mem_force},
    Trial{"process-vm", "filling pages of another process", process_vm},
    Trial{"mremap-alias", "a second view of shared memory", mremap_alias},
    Trial{"memfd", "shared memory of our own", memfd_small},
    Trial{"memfd-hugetlb", "the same with huge pages", memfd_huge},
    Trial{"mlock", "pages that stay", memory_lock},
};

}  // namespace

std::vector<Facility> try_facilities() {
  std::vector<Facility> facilities;
  for (const Trial& trial : kTrials)
    facilities.push_back({.name = trial.name, .purpose = trial.purpose, .error = trial.run()});
  return facilities;
}

}  // namespace userfault::machine

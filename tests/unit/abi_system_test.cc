// SPDX-License-Identifier: Apache-2.0
// abi.h against the header of this system, for every name that it has: Debian 12's is Linux 6.1's
// (REAL-28), so what is newer is guarded name by name and stands as a number in abi_values_test.cc
// anyway. The test at the end reads the header's own list of names, so that none is forgotten here.
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "support/source_tree.h"
#include "userfault/abi.h"

namespace {

#ifdef UFFD_API
static_assert(USERFAULT_API == UFFD_API);
#endif
#ifdef UFFD_USER_MODE_ONLY
static_assert(USERFAULT_USER_MODE_ONLY == UFFD_USER_MODE_ONLY);
#endif
#ifdef _UFFDIO_REGISTER
static_assert(USERFAULT_NR_REGISTER == _UFFDIO_REGISTER);
#endif
#ifdef _UFFDIO_UNREGISTER
static_assert(USERFAULT_NR_UNREGISTER == _UFFDIO_UNREGISTER);
#endif
#ifdef _UFFDIO_WAKE
static_assert(USERFAULT_NR_WAKE == _UFFDIO_WAKE);
#endif
#ifdef _UFFDIO_COPY
static_assert(USERFAULT_NR_COPY == _UFFDIO_COPY);
#endif
#ifdef _UFFDIO_ZEROPAGE
static_assert(USERFAULT_NR_ZEROPAGE == _UFFDIO_ZEROPAGE);
#endif
#ifdef _UFFDIO_MOVE
static_assert(USERFAULT_NR_MOVE == _UFFDIO_MOVE);
#endif
#ifdef _UFFDIO_WRITEPROTECT
static_assert(USERFAULT_NR_WRITEPROTECT == _UFFDIO_WRITEPROTECT);
#endif
#ifdef _UFFDIO_CONTINUE
static_assert(USERFAULT_NR_CONTINUE == _UFFDIO_CONTINUE);
#endif
#ifdef _UFFDIO_POISON
static_assert(USERFAULT_NR_POISON == _UFFDIO_POISON);
#endif
#ifdef _UFFDIO_API
static_assert(USERFAULT_NR_API == _UFFDIO_API);
#endif
#ifdef UFFDIO_API
static_assert(USERFAULT_IOC_API == UFFDIO_API);
#endif
#ifdef UFFDIO_REGISTER
static_assert(USERFAULT_IOC_REGISTER == UFFDIO_REGISTER);
#endif
#ifdef UFFDIO_UNREGISTER
static_assert(USERFAULT_IOC_UNREGISTER == UFFDIO_UNREGISTER);
#endif
#ifdef UFFDIO_WAKE
static_assert(USERFAULT_IOC_WAKE == UFFDIO_WAKE);
#endif
#ifdef UFFDIO_COPY
static_assert(USERFAULT_IOC_COPY == UFFDIO_COPY);
#endif
#ifdef UFFDIO_ZEROPAGE
static_assert(USERFAULT_IOC_ZEROPAGE == UFFDIO_ZEROPAGE);
#endif
#ifdef UFFDIO_MOVE
static_assert(USERFAULT_IOC_MOVE == UFFDIO_MOVE);
#endif
#ifdef UFFDIO_WRITEPROTECT
static_assert(USERFAULT_IOC_WRITEPROTECT == UFFDIO_WRITEPROTECT);
#endif
#ifdef UFFDIO_CONTINUE
static_assert(USERFAULT_IOC_CONTINUE == UFFDIO_CONTINUE);
#endif
#ifdef UFFDIO_POISON
static_assert(USERFAULT_IOC_POISON == UFFDIO_POISON);
#endif
#ifdef USERFAULTFD_IOC_NEW
static_assert(USERFAULT_DEV_IOC_NEW == USERFAULTFD_IOC_NEW);
#endif
#ifdef UFFD_FEATURE_PAGEFAULT_FLAG_WP
static_assert(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP == UFFD_FEATURE_PAGEFAULT_FLAG_WP);
#endif
#ifdef UFFD_FEATURE_EVENT_FORK
static_assert(USERFAULT_FEATURE_EVENT_FORK == UFFD_FEATURE_EVENT_FORK);
#endif
#ifdef UFFD_FEATURE_EVENT_REMAP
static_assert(USERFAULT_FEATURE_EVENT_REMAP == UFFD_FEATURE_EVENT_REMAP);
#endif
#ifdef UFFD_FEATURE_EVENT_REMOVE
static_assert(USERFAULT_FEATURE_EVENT_REMOVE == UFFD_FEATURE_EVENT_REMOVE);
#endif
#ifdef UFFD_FEATURE_MISSING_HUGETLBFS
static_assert(USERFAULT_FEATURE_MISSING_HUGETLBFS == UFFD_FEATURE_MISSING_HUGETLBFS);
#endif
#ifdef UFFD_FEATURE_MISSING_SHMEM
static_assert(USERFAULT_FEATURE_MISSING_SHMEM == UFFD_FEATURE_MISSING_SHMEM);
#endif
#ifdef UFFD_FEATURE_EVENT_UNMAP
static_assert(USERFAULT_FEATURE_EVENT_UNMAP == UFFD_FEATURE_EVENT_UNMAP);
#endif
#ifdef UFFD_FEATURE_SIGBUS
static_assert(USERFAULT_FEATURE_SIGBUS == UFFD_FEATURE_SIGBUS);
#endif
#ifdef UFFD_FEATURE_THREAD_ID
static_assert(USERFAULT_FEATURE_THREAD_ID == UFFD_FEATURE_THREAD_ID);
#endif
#ifdef UFFD_FEATURE_MINOR_HUGETLBFS
static_assert(USERFAULT_FEATURE_MINOR_HUGETLBFS == UFFD_FEATURE_MINOR_HUGETLBFS);
#endif
#ifdef UFFD_FEATURE_MINOR_SHMEM
static_assert(USERFAULT_FEATURE_MINOR_SHMEM == UFFD_FEATURE_MINOR_SHMEM);
#endif
#ifdef UFFD_FEATURE_EXACT_ADDRESS
static_assert(USERFAULT_FEATURE_EXACT_ADDRESS == UFFD_FEATURE_EXACT_ADDRESS);
#endif
#ifdef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
static_assert(USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM == UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
#endif
#ifdef UFFD_FEATURE_WP_UNPOPULATED
static_assert(USERFAULT_FEATURE_WP_UNPOPULATED == UFFD_FEATURE_WP_UNPOPULATED);
#endif
#ifdef UFFD_FEATURE_POISON
static_assert(USERFAULT_FEATURE_POISON == UFFD_FEATURE_POISON);
#endif
#ifdef UFFD_FEATURE_WP_ASYNC
static_assert(USERFAULT_FEATURE_WP_ASYNC == UFFD_FEATURE_WP_ASYNC);
#endif
#ifdef UFFD_FEATURE_MOVE
static_assert(USERFAULT_FEATURE_MOVE == UFFD_FEATURE_MOVE);
#endif
#ifdef UFFD_EVENT_PAGEFAULT
static_assert(USERFAULT_EVENT_PAGEFAULT == UFFD_EVENT_PAGEFAULT);
#endif
#ifdef UFFD_EVENT_FORK
static_assert(USERFAULT_EVENT_FORK == UFFD_EVENT_FORK);
#endif
#ifdef UFFD_EVENT_REMAP
static_assert(USERFAULT_EVENT_REMAP == UFFD_EVENT_REMAP);
#endif
#ifdef UFFD_EVENT_REMOVE
static_assert(USERFAULT_EVENT_REMOVE == UFFD_EVENT_REMOVE);
#endif
#ifdef UFFD_EVENT_UNMAP
static_assert(USERFAULT_EVENT_UNMAP == UFFD_EVENT_UNMAP);
#endif
#ifdef UFFD_PAGEFAULT_FLAG_WRITE
static_assert(USERFAULT_PAGEFAULT_FLAG_WRITE == UFFD_PAGEFAULT_FLAG_WRITE);
#endif
#ifdef UFFD_PAGEFAULT_FLAG_WP
static_assert(USERFAULT_PAGEFAULT_FLAG_WP == UFFD_PAGEFAULT_FLAG_WP);
#endif
#ifdef UFFD_PAGEFAULT_FLAG_MINOR
static_assert(USERFAULT_PAGEFAULT_FLAG_MINOR == UFFD_PAGEFAULT_FLAG_MINOR);
#endif
#ifdef UFFDIO_REGISTER_MODE_MISSING
static_assert(USERFAULT_REGISTER_MODE_MISSING == UFFDIO_REGISTER_MODE_MISSING);
#endif
#ifdef UFFDIO_REGISTER_MODE_WP
static_assert(USERFAULT_REGISTER_MODE_WP == UFFDIO_REGISTER_MODE_WP);
#endif
#ifdef UFFDIO_REGISTER_MODE_MINOR
static_assert(USERFAULT_REGISTER_MODE_MINOR == UFFDIO_REGISTER_MODE_MINOR);
#endif
#ifdef UFFDIO_COPY_MODE_DONTWAKE
static_assert(USERFAULT_COPY_MODE_DONTWAKE == UFFDIO_COPY_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_COPY_MODE_WP
static_assert(USERFAULT_COPY_MODE_WP == UFFDIO_COPY_MODE_WP);
#endif
#ifdef UFFDIO_ZEROPAGE_MODE_DONTWAKE
static_assert(USERFAULT_ZEROPAGE_MODE_DONTWAKE == UFFDIO_ZEROPAGE_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_WRITEPROTECT_MODE_WP
static_assert(USERFAULT_WRITEPROTECT_MODE_WP == UFFDIO_WRITEPROTECT_MODE_WP);
#endif
#ifdef UFFDIO_WRITEPROTECT_MODE_DONTWAKE
static_assert(USERFAULT_WRITEPROTECT_MODE_DONTWAKE == UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_CONTINUE_MODE_DONTWAKE
static_assert(USERFAULT_CONTINUE_MODE_DONTWAKE == UFFDIO_CONTINUE_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_CONTINUE_MODE_WP
static_assert(USERFAULT_CONTINUE_MODE_WP == UFFDIO_CONTINUE_MODE_WP);
#endif
#ifdef UFFDIO_POISON_MODE_DONTWAKE
static_assert(USERFAULT_POISON_MODE_DONTWAKE == UFFDIO_POISON_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_MOVE_MODE_DONTWAKE
static_assert(USERFAULT_MOVE_MODE_DONTWAKE == UFFDIO_MOVE_MODE_DONTWAKE);
#endif
#ifdef UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES
static_assert(USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES == UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES);
#endif

static_assert(sizeof(userfault_msg) == sizeof(uffd_msg));
static_assert(offsetof(userfault_msg, event) == offsetof(uffd_msg, event));
static_assert(offsetof(userfault_msg, reserved1) == offsetof(uffd_msg, reserved1));
static_assert(offsetof(userfault_msg, reserved2) == offsetof(uffd_msg, reserved2));
static_assert(offsetof(userfault_msg, reserved3) == offsetof(uffd_msg, reserved3));
static_assert(offsetof(userfault_msg, arg) == offsetof(uffd_msg, arg));
static_assert(offsetof(userfault_msg, arg.pagefault.flags) == offsetof(uffd_msg, arg.pagefault.flags));
static_assert(offsetof(userfault_msg, arg.pagefault.address) == offsetof(uffd_msg, arg.pagefault.address));
static_assert(offsetof(userfault_msg, arg.pagefault.feat.ptid) == offsetof(uffd_msg, arg.pagefault.feat.ptid));
static_assert(offsetof(userfault_msg, arg.fork.ufd) == offsetof(uffd_msg, arg.fork.ufd));
static_assert(offsetof(userfault_msg, arg.remap.from) == offsetof(uffd_msg, arg.remap.from));
static_assert(offsetof(userfault_msg, arg.remap.to) == offsetof(uffd_msg, arg.remap.to));
static_assert(offsetof(userfault_msg, arg.remap.len) == offsetof(uffd_msg, arg.remap.len));
static_assert(offsetof(userfault_msg, arg.remove.start) == offsetof(uffd_msg, arg.remove.start));
static_assert(offsetof(userfault_msg, arg.remove.end) == offsetof(uffd_msg, arg.remove.end));
static_assert(offsetof(userfault_msg, arg.reserved.reserved1) == offsetof(uffd_msg, arg.reserved.reserved1));
static_assert(offsetof(userfault_msg, arg.reserved.reserved2) == offsetof(uffd_msg, arg.reserved.reserved2));
static_assert(offsetof(userfault_msg, arg.reserved.reserved3) == offsetof(uffd_msg, arg.reserved.reserved3));

static_assert(sizeof(userfault_api) == sizeof(uffdio_api));
static_assert(offsetof(userfault_api, api) == offsetof(uffdio_api, api));
static_assert(offsetof(userfault_api, features) == offsetof(uffdio_api, features));
static_assert(offsetof(userfault_api, ioctls) == offsetof(uffdio_api, ioctls));

static_assert(sizeof(userfault_range) == sizeof(uffdio_range));
static_assert(offsetof(userfault_range, start) == offsetof(uffdio_range, start));
static_assert(offsetof(userfault_range, len) == offsetof(uffdio_range, len));

static_assert(sizeof(userfault_register) == sizeof(uffdio_register));
static_assert(offsetof(userfault_register, range) == offsetof(uffdio_register, range));
static_assert(offsetof(userfault_register, mode) == offsetof(uffdio_register, mode));
static_assert(offsetof(userfault_register, ioctls) == offsetof(uffdio_register, ioctls));

static_assert(sizeof(userfault_copy) == sizeof(uffdio_copy));
static_assert(offsetof(userfault_copy, dst) == offsetof(uffdio_copy, dst));
static_assert(offsetof(userfault_copy, src) == offsetof(uffdio_copy, src));
static_assert(offsetof(userfault_copy, len) == offsetof(uffdio_copy, len));
static_assert(offsetof(userfault_copy, mode) == offsetof(uffdio_copy, mode));
static_assert(offsetof(userfault_copy, copy) == offsetof(uffdio_copy, copy));

static_assert(sizeof(userfault_zeropage) == sizeof(uffdio_zeropage));
static_assert(offsetof(userfault_zeropage, range) == offsetof(uffdio_zeropage, range));
static_assert(offsetof(userfault_zeropage, mode) == offsetof(uffdio_zeropage, mode));
static_assert(offsetof(userfault_zeropage, zeropage) == offsetof(uffdio_zeropage, zeropage));

#ifdef UFFDIO_WRITEPROTECT
static_assert(sizeof(userfault_writeprotect) == sizeof(uffdio_writeprotect));
static_assert(offsetof(userfault_writeprotect, range) == offsetof(uffdio_writeprotect, range));
static_assert(offsetof(userfault_writeprotect, mode) == offsetof(uffdio_writeprotect, mode));
#endif

#ifdef UFFDIO_CONTINUE
static_assert(sizeof(userfault_continue) == sizeof(uffdio_continue));
static_assert(offsetof(userfault_continue, range) == offsetof(uffdio_continue, range));
static_assert(offsetof(userfault_continue, mode) == offsetof(uffdio_continue, mode));
static_assert(offsetof(userfault_continue, mapped) == offsetof(uffdio_continue, mapped));
#endif

#ifdef UFFDIO_POISON
static_assert(sizeof(userfault_poison) == sizeof(uffdio_poison));
static_assert(offsetof(userfault_poison, range) == offsetof(uffdio_poison, range));
static_assert(offsetof(userfault_poison, mode) == offsetof(uffdio_poison, mode));
static_assert(offsetof(userfault_poison, updated) == offsetof(uffdio_poison, updated));
#endif

#ifdef UFFDIO_MOVE
static_assert(sizeof(userfault_move) == sizeof(uffdio_move));
static_assert(offsetof(userfault_move, dst) == offsetof(uffdio_move, dst));
static_assert(offsetof(userfault_move, src) == offsetof(uffdio_move, src));
static_assert(offsetof(userfault_move, len) == offsetof(uffdio_move, len));
static_assert(offsetof(userfault_move, mode) == offsetof(uffdio_move, mode));
static_assert(offsetof(userfault_move, move) == offsetof(uffdio_move, move));
#endif

// PAGEMAP_SCAN lives in <linux/fs.h>, Linux 6.7.
#ifdef PAGEMAP_SCAN
static_assert(USERFAULT_PAGEMAP_SCAN == PAGEMAP_SCAN);
#endif
#ifdef PAGE_IS_WPALLOWED
static_assert(USERFAULT_PAGE_IS_WPALLOWED == PAGE_IS_WPALLOWED);
#endif
#ifdef PAGE_IS_WRITTEN
static_assert(USERFAULT_PAGE_IS_WRITTEN == PAGE_IS_WRITTEN);
#endif
#ifdef PAGE_IS_FILE
static_assert(USERFAULT_PAGE_IS_FILE == PAGE_IS_FILE);
#endif
#ifdef PAGE_IS_PRESENT
static_assert(USERFAULT_PAGE_IS_PRESENT == PAGE_IS_PRESENT);
#endif
#ifdef PAGE_IS_SWAPPED
static_assert(USERFAULT_PAGE_IS_SWAPPED == PAGE_IS_SWAPPED);
#endif
#ifdef PAGE_IS_PFNZERO
static_assert(USERFAULT_PAGE_IS_PFNZERO == PAGE_IS_PFNZERO);
#endif
#ifdef PAGE_IS_HUGE
static_assert(USERFAULT_PAGE_IS_HUGE == PAGE_IS_HUGE);
#endif
#ifdef PAGE_IS_SOFT_DIRTY
static_assert(USERFAULT_PAGE_IS_SOFT_DIRTY == PAGE_IS_SOFT_DIRTY);
#endif
#ifdef PAGE_IS_GUARD
static_assert(USERFAULT_PAGE_IS_GUARD == PAGE_IS_GUARD);
#endif
#ifdef PM_SCAN_WP_MATCHING
static_assert(USERFAULT_SCAN_WP_MATCHING == PM_SCAN_WP_MATCHING);
#endif
#ifdef PM_SCAN_CHECK_WPASYNC
static_assert(USERFAULT_SCAN_CHECK_WPASYNC == PM_SCAN_CHECK_WPASYNC);
#endif
#ifdef PAGEMAP_SCAN
static_assert(sizeof(userfault_page_region) == sizeof(page_region));
static_assert(offsetof(userfault_page_region, start) == offsetof(page_region, start));
static_assert(offsetof(userfault_page_region, end) == offsetof(page_region, end));
static_assert(offsetof(userfault_page_region, categories) == offsetof(page_region, categories));
#endif

#ifdef PAGEMAP_SCAN
static_assert(sizeof(userfault_scan) == sizeof(pm_scan_arg));
static_assert(offsetof(userfault_scan, size) == offsetof(pm_scan_arg, size));
static_assert(offsetof(userfault_scan, flags) == offsetof(pm_scan_arg, flags));
static_assert(offsetof(userfault_scan, start) == offsetof(pm_scan_arg, start));
static_assert(offsetof(userfault_scan, end) == offsetof(pm_scan_arg, end));
static_assert(offsetof(userfault_scan, walk_end) == offsetof(pm_scan_arg, walk_end));
static_assert(offsetof(userfault_scan, vec) == offsetof(pm_scan_arg, vec));
static_assert(offsetof(userfault_scan, vec_len) == offsetof(pm_scan_arg, vec_len));
static_assert(offsetof(userfault_scan, max_pages) == offsetof(pm_scan_arg, max_pages));
static_assert(offsetof(userfault_scan, category_inverted) == offsetof(pm_scan_arg, category_inverted));
static_assert(offsetof(userfault_scan, category_mask) == offsetof(pm_scan_arg, category_mask));
static_assert(offsetof(userfault_scan, category_anyof_mask) == offsetof(pm_scan_arg, category_anyof_mask));
static_assert(offsetof(userfault_scan, return_mask) == offsetof(pm_scan_arg, return_mask));
#endif

// Names that are not the interface: guards, sums of others, and the type byte of the requests.
const std::set<std::string> kNotOurs = {"UFFDIO",
                                        "UFFD_API_FEATURES",
                                        "UFFD_API_IOCTLS",
                                        "UFFD_API_RANGE_IOCTLS",
                                        "UFFD_API_RANGE_IOCTLS_BASIC",
                                        "UFFD_API_REGISTER_MODES",
                                        "USERFAULTFD_IOC"};

// The first name after Linux 6.18 that is known to be coming.
#ifdef UFFD_FEATURE_RWP
constexpr bool kNewerThanOurs = true;
#else
constexpr bool kNewerThanOurs = false;
#endif

TEST(AbiSystem, EveryNameOfTheSystemsHeaderIsChecked) {
  constexpr char kHeader[] = "/usr/include/linux/userfaultfd.h";
  std::ifstream header(kHeader);
  if (!header) GTEST_SKIP() << kHeader << " is not where this system keeps its headers";
  const std::string checks = userfault::test::read_source("tests/unit/abi_system_test.cc");
  const std::regex definition(R"(^#define\s+(_?(UFFD|USERFAULTFD)\w*)\s)");
  std::string unknown;
  int names = 0;
  for (std::string line; std::getline(header, line);) {
    std::smatch match;
    if (!std::regex_search(line, match, definition)) continue;
    const std::string name = match[1];
    ++names;
    if (!kNotOurs.contains(name) && checks.find("== " + name + ");") == std::string::npos) unknown += " " + name;
  }
  EXPECT_GT(names, 40) << "the header was not understood";
  if (kNewerThanOurs && !unknown.empty()) GTEST_SKIP() << "the system's header is newer than Linux 6.18:" << unknown;
  EXPECT_EQ(unknown, "") << "names of the system's header that nothing compares";
}

}  // namespace

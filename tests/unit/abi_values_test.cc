// SPDX-License-Identifier: Apache-2.0
// Every number of abi.h against the literal value of Linux 6.18's <linux/userfaultfd.h> and
// <linux/fs.h>, whatever header this machine has: a slip of ours must not hide behind an old header.
// abi_system_test.cc compares with the system's header, abi_layout_test.cc has the structs.
#include <gtest/gtest.h>

#include <cstdint>

#include "userfault/abi.h"

namespace {

static_assert(USERFAULT_API == 0xAA);
static_assert(USERFAULT_USER_MODE_ONLY == 1);

static_assert(USERFAULT_NR_REGISTER == 0x00);
static_assert(USERFAULT_NR_UNREGISTER == 0x01);
static_assert(USERFAULT_NR_WAKE == 0x02);
static_assert(USERFAULT_NR_COPY == 0x03);
static_assert(USERFAULT_NR_ZEROPAGE == 0x04);
static_assert(USERFAULT_NR_MOVE == 0x05);
static_assert(USERFAULT_NR_WRITEPROTECT == 0x06);
static_assert(USERFAULT_NR_CONTINUE == 0x07);
static_assert(USERFAULT_NR_POISON == 0x08);
static_assert(USERFAULT_NR_API == 0x3F);

// As strace prints them on x86-64 and AArch64.
static_assert(USERFAULT_IOC_API == 0xC018AA3F);
static_assert(USERFAULT_IOC_REGISTER == 0xC020AA00);
static_assert(USERFAULT_IOC_UNREGISTER == 0x8010AA01);
static_assert(USERFAULT_IOC_WAKE == 0x8010AA02);
static_assert(USERFAULT_IOC_COPY == 0xC028AA03);
static_assert(USERFAULT_IOC_ZEROPAGE == 0xC020AA04);
static_assert(USERFAULT_IOC_MOVE == 0xC028AA05);
static_assert(USERFAULT_IOC_WRITEPROTECT == 0xC018AA06);
static_assert(USERFAULT_IOC_CONTINUE == 0xC020AA07);
static_assert(USERFAULT_IOC_POISON == 0xC020AA08);
static_assert(USERFAULT_DEV_IOC_NEW == 0xAA00);

static_assert(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP == 0x1);
static_assert(USERFAULT_FEATURE_EVENT_FORK == 0x2);
static_assert(USERFAULT_FEATURE_EVENT_REMAP == 0x4);
static_assert(USERFAULT_FEATURE_EVENT_REMOVE == 0x8);
static_assert(USERFAULT_FEATURE_MISSING_HUGETLBFS == 0x10);
static_assert(USERFAULT_FEATURE_MISSING_SHMEM == 0x20);
static_assert(USERFAULT_FEATURE_EVENT_UNMAP == 0x40);
static_assert(USERFAULT_FEATURE_SIGBUS == 0x80);
static_assert(USERFAULT_FEATURE_THREAD_ID == 0x100);
static_assert(USERFAULT_FEATURE_MINOR_HUGETLBFS == 0x200);
static_assert(USERFAULT_FEATURE_MINOR_SHMEM == 0x400);
static_assert(USERFAULT_FEATURE_EXACT_ADDRESS == 0x800);
static_assert(USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM == 0x1000);
static_assert(USERFAULT_FEATURE_WP_UNPOPULATED == 0x2000);
static_assert(USERFAULT_FEATURE_POISON == 0x4000);
static_assert(USERFAULT_FEATURE_WP_ASYNC == 0x8000);
static_assert(USERFAULT_FEATURE_MOVE == 0x10000);
static_assert(USERFAULT_FEATURE_COUNT == 17);
static_assert(USERFAULT_FEATURE_ALL == 0x1FFFF);

static_assert(USERFAULT_EVENT_PAGEFAULT == 0x12);
static_assert(USERFAULT_EVENT_FORK == 0x13);
static_assert(USERFAULT_EVENT_REMAP == 0x14);
static_assert(USERFAULT_EVENT_REMOVE == 0x15);
static_assert(USERFAULT_EVENT_UNMAP == 0x16);

static_assert(USERFAULT_PAGEFAULT_FLAG_WRITE == 1);
static_assert(USERFAULT_PAGEFAULT_FLAG_WP == 2);
static_assert(USERFAULT_PAGEFAULT_FLAG_MINOR == 4);

static_assert(USERFAULT_REGISTER_MODE_MISSING == 1);
static_assert(USERFAULT_REGISTER_MODE_WP == 2);
static_assert(USERFAULT_REGISTER_MODE_MINOR == 4);
static_assert(USERFAULT_COPY_MODE_DONTWAKE == 1);
static_assert(USERFAULT_COPY_MODE_WP == 2);
static_assert(USERFAULT_ZEROPAGE_MODE_DONTWAKE == 1);
static_assert(USERFAULT_WRITEPROTECT_MODE_WP == 1);
static_assert(USERFAULT_WRITEPROTECT_MODE_DONTWAKE == 2);
static_assert(USERFAULT_CONTINUE_MODE_DONTWAKE == 1);
static_assert(USERFAULT_CONTINUE_MODE_WP == 2);
static_assert(USERFAULT_POISON_MODE_DONTWAKE == 1);
static_assert(USERFAULT_MOVE_MODE_DONTWAKE == 1);
static_assert(USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES == 2);

static_assert(USERFAULT_PAGEMAP_SCAN == 0xC0606610);
static_assert(USERFAULT_PAGE_IS_WPALLOWED == 0x1);
static_assert(USERFAULT_PAGE_IS_WRITTEN == 0x2);
static_assert(USERFAULT_PAGE_IS_FILE == 0x4);
static_assert(USERFAULT_PAGE_IS_PRESENT == 0x8);
static_assert(USERFAULT_PAGE_IS_SWAPPED == 0x10);
static_assert(USERFAULT_PAGE_IS_PFNZERO == 0x20);
static_assert(USERFAULT_PAGE_IS_HUGE == 0x40);
static_assert(USERFAULT_PAGE_IS_SOFT_DIRTY == 0x80);
static_assert(USERFAULT_PAGE_IS_GUARD == 0x100);
static_assert(USERFAULT_SCAN_WP_MATCHING == 1);
static_assert(USERFAULT_SCAN_CHECK_WPASYNC == 2);

// Masks are 64 bits wide, so that ~mask and shifts do what they look like.
static_assert(sizeof(USERFAULT_FEATURE_PAGEFAULT_FLAG_WP) == 8);
static_assert(sizeof(USERFAULT_REGISTER_MODE_MISSING) == 8);
static_assert(sizeof(USERFAULT_PAGE_IS_WRITTEN) == 8);
static_assert(USERFAULT_FEATURE_ALL > 0 && ~USERFAULT_FEATURE_ALL == 0xFFFFFFFFFFFE0000);

// The request that a running kernel accepts is the strongest proof of all; the rest of this file
// is decided by the compiler, and this test is there to be counted.
TEST(AbiValues, RequestsHoldTheSizeOfTheirStruct) {
  const auto size_in = [](unsigned long request) { return request >> 16 & 0x3FFF; };
  EXPECT_EQ(size_in(USERFAULT_IOC_API), sizeof(userfault_api));
  EXPECT_EQ(size_in(USERFAULT_IOC_REGISTER), sizeof(userfault_register));
  EXPECT_EQ(size_in(USERFAULT_IOC_UNREGISTER), sizeof(userfault_range));
  EXPECT_EQ(size_in(USERFAULT_IOC_WAKE), sizeof(userfault_range));
  EXPECT_EQ(size_in(USERFAULT_IOC_COPY), sizeof(userfault_copy));
  EXPECT_EQ(size_in(USERFAULT_IOC_ZEROPAGE), sizeof(userfault_zeropage));
  EXPECT_EQ(size_in(USERFAULT_IOC_MOVE), sizeof(userfault_move));
  EXPECT_EQ(size_in(USERFAULT_IOC_WRITEPROTECT), sizeof(userfault_writeprotect));
  EXPECT_EQ(size_in(USERFAULT_IOC_CONTINUE), sizeof(userfault_continue));
  EXPECT_EQ(size_in(USERFAULT_IOC_POISON), sizeof(userfault_poison));
  EXPECT_EQ(size_in(USERFAULT_PAGEMAP_SCAN), sizeof(userfault_scan));
}

}  // namespace

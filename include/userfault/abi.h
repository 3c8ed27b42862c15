/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The userfaultfd interface of Linux up to 6.18, defined by us.
 *
 * Every struct, constant and ioctl number of ioctl_userfaultfd(2) and userfaultfd(2), and of
 * PAGEMAP_SCAN (Documentation/admin-guide/mm/pagemap.rst) which reads back what asynchronous
 * write protection recorded. Usable from C99 and C++, needs nothing but <stdint.h>, and can be
 * included beside <linux/userfaultfd.h> of any age: the prefixes UFFD_ and UFFDIO_ belong to the
 * kernel, ours is USERFAULT_. tests/unit/abi checks every value against the system's header.
 *
 *   kernel                         here
 *   struct uffd_msg                struct userfault_msg
 *   struct uffdio_copy             struct userfault_copy
 *   UFFDIO_COPY (request number)   USERFAULT_IOC_COPY
 *   _UFFDIO_COPY (bit number)      USERFAULT_NR_COPY
 *   UFFDIO_COPY_MODE_WP            USERFAULT_COPY_MODE_WP
 *   UFFD_FEATURE_EVENT_FORK        USERFAULT_FEATURE_EVENT_FORK
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The value that `api` must hold in USERFAULT_IOC_API. */
#define USERFAULT_API UINT64_C(0xAA)

/* Flags of userfaultfd(2), beside O_CLOEXEC and O_NONBLOCK. Linux 5.11. */
#define USERFAULT_USER_MODE_ONLY 1

/* Bit numbers of the operations, as in the `ioctls` words. */
#define USERFAULT_NR_REGISTER 0x00
#define USERFAULT_NR_UNREGISTER 0x01
#define USERFAULT_NR_WAKE 0x02
#define USERFAULT_NR_COPY 0x03
#define USERFAULT_NR_ZEROPAGE 0x04
#define USERFAULT_NR_MOVE 0x05
#define USERFAULT_NR_WRITEPROTECT 0x06
#define USERFAULT_NR_CONTINUE 0x07
#define USERFAULT_NR_POISON 0x08
#define USERFAULT_NR_API 0x3F

/* The request numbers for ioctl(2): direction, size of the struct, type 0xAA, bit number. The
 * layout of these words is the generic one (x86, arm64, riscv). */
#define USERFAULT_IOC_(dir, nr, type) \
  ((dir##UL << 30) | (sizeof(type) * 0x10000UL) | (0xAAUL << 8) | (nr))
#define USERFAULT_IOC_API USERFAULT_IOC_(3, USERFAULT_NR_API, struct userfault_api)
#define USERFAULT_IOC_REGISTER USERFAULT_IOC_(3, USERFAULT_NR_REGISTER, struct userfault_register)
#define USERFAULT_IOC_UNREGISTER USERFAULT_IOC_(2, USERFAULT_NR_UNREGISTER, struct userfault_range)
#define USERFAULT_IOC_WAKE USERFAULT_IOC_(2, USERFAULT_NR_WAKE, struct userfault_range)
#define USERFAULT_IOC_COPY USERFAULT_IOC_(3, USERFAULT_NR_COPY, struct userfault_copy)
#define USERFAULT_IOC_ZEROPAGE USERFAULT_IOC_(3, USERFAULT_NR_ZEROPAGE, struct userfault_zeropage)
#define USERFAULT_IOC_MOVE USERFAULT_IOC_(3, USERFAULT_NR_MOVE, struct userfault_move)
#define USERFAULT_IOC_WRITEPROTECT \
  USERFAULT_IOC_(3, USERFAULT_NR_WRITEPROTECT, struct userfault_writeprotect)
#define USERFAULT_IOC_CONTINUE USERFAULT_IOC_(3, USERFAULT_NR_CONTINUE, struct userfault_continue)
#define USERFAULT_IOC_POISON USERFAULT_IOC_(3, USERFAULT_NR_POISON, struct userfault_poison)

/* The request of /dev/userfaultfd that makes a new descriptor; its argument is the flags. 6.1. */
#define USERFAULT_DEV_IOC_NEW ((0xAAUL << 8) | 0x00UL)

/* Features: what USERFAULT_IOC_API reports and enables. */
#define USERFAULT_FEATURE_PAGEFAULT_FLAG_WP (UINT64_C(1) << 0)     /* 5.7 */
#define USERFAULT_FEATURE_EVENT_FORK (UINT64_C(1) << 1)            /* 4.11 */
#define USERFAULT_FEATURE_EVENT_REMAP (UINT64_C(1) << 2)           /* 4.11 */
#define USERFAULT_FEATURE_EVENT_REMOVE (UINT64_C(1) << 3)          /* 4.11 */
#define USERFAULT_FEATURE_MISSING_HUGETLBFS (UINT64_C(1) << 4)     /* 4.11 */
#define USERFAULT_FEATURE_MISSING_SHMEM (UINT64_C(1) << 5)         /* 4.11 */
#define USERFAULT_FEATURE_EVENT_UNMAP (UINT64_C(1) << 6)           /* 4.11 */
#define USERFAULT_FEATURE_SIGBUS (UINT64_C(1) << 7)                /* 4.14 */
#define USERFAULT_FEATURE_THREAD_ID (UINT64_C(1) << 8)             /* 4.14 */
#define USERFAULT_FEATURE_MINOR_HUGETLBFS (UINT64_C(1) << 9)       /* 5.13 */
#define USERFAULT_FEATURE_MINOR_SHMEM (UINT64_C(1) << 10)          /* 5.14 */
#define USERFAULT_FEATURE_EXACT_ADDRESS (UINT64_C(1) << 11)        /* 5.18 */
#define USERFAULT_FEATURE_WP_HUGETLBFS_SHMEM (UINT64_C(1) << 12)   /* 5.19 */
#define USERFAULT_FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13)       /* 6.4 */
#define USERFAULT_FEATURE_POISON (UINT64_C(1) << 14)               /* 6.6 */
#define USERFAULT_FEATURE_WP_ASYNC (UINT64_C(1) << 15)             /* 6.7 */
#define USERFAULT_FEATURE_MOVE (UINT64_C(1) << 16)                 /* 6.8 */
#define USERFAULT_FEATURE_COUNT 17
#define USERFAULT_FEATURE_ALL ((UINT64_C(1) << USERFAULT_FEATURE_COUNT) - 1)

/* Events: the first byte of a message. */
#define USERFAULT_EVENT_PAGEFAULT 0x12
#define USERFAULT_EVENT_FORK 0x13
#define USERFAULT_EVENT_REMAP 0x14
#define USERFAULT_EVENT_REMOVE 0x15
#define USERFAULT_EVENT_UNMAP 0x16

/* Flags of a page-fault message. */
#define USERFAULT_PAGEFAULT_FLAG_WRITE (UINT64_C(1) << 0)
#define USERFAULT_PAGEFAULT_FLAG_WP (UINT64_C(1) << 1)    /* 5.7 */
#define USERFAULT_PAGEFAULT_FLAG_MINOR (UINT64_C(1) << 2) /* 5.13 */

/* What read(2) returns: 32 bytes a message. The kernel packs it. */
struct userfault_msg {
  uint8_t event;
  uint8_t reserved1;
  uint16_t reserved2;
  uint32_t reserved3;
  union {
    struct {
      uint64_t flags;
      uint64_t address;
      union {
        uint32_t ptid; /* with FEATURE_THREAD_ID */
      } feat;
    } pagefault;
    struct {
      uint32_t ufd; /* the descriptor of the child */
    } fork;
    struct {
      uint64_t from;
      uint64_t to;
      uint64_t len;
    } remap;
    struct { /* EVENT_REMOVE and EVENT_UNMAP */
      uint64_t start;
      uint64_t end;
    } remove;
    struct {
      uint64_t reserved1;
      uint64_t reserved2;
      uint64_t reserved3;
    } reserved;
  } arg;
} __attribute__((packed, aligned(8)));

struct userfault_api {
  uint64_t api;
  uint64_t features;
  uint64_t ioctls;
};

struct userfault_range {
  uint64_t start;
  uint64_t len;
};

#define USERFAULT_REGISTER_MODE_MISSING (UINT64_C(1) << 0)
#define USERFAULT_REGISTER_MODE_WP (UINT64_C(1) << 1)
#define USERFAULT_REGISTER_MODE_MINOR (UINT64_C(1) << 2)

struct userfault_register {
  struct userfault_range range;
  uint64_t mode;
  uint64_t ioctls;
};

#define USERFAULT_COPY_MODE_DONTWAKE (UINT64_C(1) << 0)
#define USERFAULT_COPY_MODE_WP (UINT64_C(1) << 1)

struct userfault_copy {
  uint64_t dst;
  uint64_t src;
  uint64_t len;
  uint64_t mode;
  int64_t copy; /* out: bytes done or a negated errno */
};

#define USERFAULT_ZEROPAGE_MODE_DONTWAKE (UINT64_C(1) << 0)

struct userfault_zeropage {
  struct userfault_range range;
  uint64_t mode;
  int64_t zeropage; /* out: bytes done or a negated errno */
};

#define USERFAULT_WRITEPROTECT_MODE_WP (UINT64_C(1) << 0)
#define USERFAULT_WRITEPROTECT_MODE_DONTWAKE (UINT64_C(1) << 1)

struct userfault_writeprotect {
  struct userfault_range range;
  uint64_t mode;
};

#define USERFAULT_CONTINUE_MODE_DONTWAKE (UINT64_C(1) << 0)
#define USERFAULT_CONTINUE_MODE_WP (UINT64_C(1) << 1) /* 6.4 */

struct userfault_continue {
  struct userfault_range range;
  uint64_t mode;
  int64_t mapped; /* out: bytes done or a negated errno */
};

#define USERFAULT_POISON_MODE_DONTWAKE (UINT64_C(1) << 0)

struct userfault_poison {
  struct userfault_range range;
  uint64_t mode;
  int64_t updated; /* out: bytes done or a negated errno */
};

#define USERFAULT_MOVE_MODE_DONTWAKE (UINT64_C(1) << 0)
#define USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES (UINT64_C(1) << 1)

struct userfault_move {
  uint64_t dst;
  uint64_t src;
  uint64_t len;
  uint64_t mode;
  int64_t move; /* out: bytes done or a negated errno */
};

/* PAGEMAP_SCAN, Linux 6.7: one call over /proc/PID/pagemap that finds, and with WP_MATCHING
 * protects again, the pages that were written under FEATURE_WP_ASYNC. */
#define USERFAULT_PAGE_IS_WPALLOWED (UINT64_C(1) << 0)
#define USERFAULT_PAGE_IS_WRITTEN (UINT64_C(1) << 1)
#define USERFAULT_PAGE_IS_FILE (UINT64_C(1) << 2)
#define USERFAULT_PAGE_IS_PRESENT (UINT64_C(1) << 3)
#define USERFAULT_PAGE_IS_SWAPPED (UINT64_C(1) << 4)
#define USERFAULT_PAGE_IS_PFNZERO (UINT64_C(1) << 5)
#define USERFAULT_PAGE_IS_HUGE (UINT64_C(1) << 6)
#define USERFAULT_PAGE_IS_SOFT_DIRTY (UINT64_C(1) << 7)
#define USERFAULT_PAGE_IS_GUARD (UINT64_C(1) << 8) /* 6.15 */

#define USERFAULT_SCAN_WP_MATCHING (UINT64_C(1) << 0)
#define USERFAULT_SCAN_CHECK_WPASYNC (UINT64_C(1) << 1)

struct userfault_page_region {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};

struct userfault_scan {
  uint64_t size; /* sizeof(struct userfault_scan) */
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end; /* out: where the walk stopped */
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};

#define USERFAULT_PAGEMAP_SCAN \
  ((3UL << 30) | (sizeof(struct userfault_scan) * 0x10000UL) | (0x66UL << 8) | 16UL)

#ifdef __cplusplus
}
#endif

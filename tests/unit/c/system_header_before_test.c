/* SPDX-License-Identifier: Apache-2.0 */
/* The system's header first, then abi.h: no name of ours collides with one of the kernel's. */
#include <linux/userfaultfd.h>

#include "userfault/abi.h"

int main(void) { return sizeof(struct userfault_copy) == sizeof(struct uffdio_copy) ? 0 : 1; }

/* SPDX-License-Identifier: Apache-2.0 */
/* abi.h first, then the system's header: no name of ours collides with one of the kernel's. */
#include "userfault/abi.h"

#include <linux/userfaultfd.h>

int main(void) { return sizeof(struct userfault_copy) == sizeof(struct uffdio_copy) ? 0 : 1; }

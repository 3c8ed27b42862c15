// SPDX-License-Identifier: Apache-2.0
// Our ABI against the system's header, for every name that it has (Debian 12's is Linux 6.1's).
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "userfault/abi.h"

static_assert(USERFAULT_IOC_COPY == UFFDIO_COPY);

TEST(Abi, MessageIs32Bytes) { EXPECT_EQ(sizeof(userfault_msg), 32u); }

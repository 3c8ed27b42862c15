// SPDX-License-Identifier: Apache-2.0
#include "preload/pagemap.h"

#include "preload/next.h"

namespace userfault::preload {

// For another process's pagemap the kernel's answer stands.
int scan_pagemap(int fd, void* argument) noexcept {
  const int kernel = static_cast<int>(sigsafe::raw_syscall(SYS_ioctl, fd, USERFAULT_PAGEMAP_SCAN, argument_of(argument)));
  return kernel;
}

}  // namespace userfault::preload

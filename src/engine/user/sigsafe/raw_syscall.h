// SPDX-License-Identifier: Apache-2.0
// System calls without libc: no errno, no cancellation point, nothing that a preload library
// could have replaced. Results are the kernel's: a value, or a negative errno.
#pragma once

#if defined(__x86_64__)
#include "engine/user/sigsafe/x86_64/raw_syscall.h"
#elif defined(__aarch64__)
#include "engine/user/sigsafe/aarch64/raw_syscall.h"
#else
#error "userfault knows x86-64 and AArch64"
#endif

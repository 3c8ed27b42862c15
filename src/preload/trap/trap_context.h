// SPDX-License-Identifier: Apache-2.0
// A trapped system call in the machine's registers.
#pragma once

#if defined(__x86_64__)
#include "preload/trap/trap_context_x86_64.h"
#elif defined(__aarch64__)
#include "preload/trap/trap_context_aarch64.h"
#else
#error "userfault knows x86-64 and AArch64"
#endif

// SPDX-License-Identifier: Apache-2.0
// System calls that newer architectures have not got, each made of its successor.
#pragma once

#if defined(__x86_64__)
#include "preload/trap/old_calls_x86_64.h"
#elif defined(__aarch64__)
#include "preload/trap/old_calls_aarch64.h"
#else
#error "userfault knows x86-64 and AArch64"
#endif

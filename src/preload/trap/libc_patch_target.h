// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__x86_64__)
#include "preload/trap/libc_patch_target_x86_64.h"
#else
#include "preload/trap/libc_patch_target_none.h"
#endif

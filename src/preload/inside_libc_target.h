// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__x86_64__)
#include "preload/inside_libc_x86_64.h"
#else
#include "preload/inside_libc_none.h"
#endif

// SPDX-License-Identifier: Apache-2.0
// The numbers of calls.h that newer architectures have not got.
#pragma once

#include <sys/syscall.h>

#if defined(__aarch64__)
#include "preload/symbols/old_numbers_aarch64.h"
#endif

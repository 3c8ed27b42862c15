// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__x86_64__)
#include "engine/user/signal/machine_context_x86_64.h"
#elif defined(__aarch64__)
#include "engine/user/signal/machine_context_aarch64.h"
#else
#error "userfault: this architecture has no context_*.h yet"
#endif

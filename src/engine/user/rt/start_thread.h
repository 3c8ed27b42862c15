// SPDX-License-Identifier: Apache-2.0
// A thread that libc does not know: it shares everything with the process, and no thread joins it.
#pragma once

#include <cstdint>

namespace userfault::engine::user {

extern "C" {
// clone(2) with a stack that ends at `stack_top` (aligned to 16) and the thread pointer `tls`; the
// thread calls `entry`, which must not return. The thread's id, or a negative errno.
long userfault_rt_start_thread(unsigned long flags, std::uintptr_t stack_top, std::uintptr_t tls, void (*entry)());
}

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// The operations that fill pages: COPY, ZEROPAGE, CONTINUE and POISON.
//
// They may run in a signal handler (an in-thread handler calls them there). Arguments have been
// checked for form by the caller as far as they do not depend on the mapping. Results: bytes done,
// or a negative errno when none were, as mfill_atomic() in the kernel.
#pragma once

#include "engine/user/memory/address_space.h"
#include "engine/user/wait/instance.h"

namespace userfault::engine::user {

enum class Fill : std::uint8_t { kCopy, kZero, kContinue, kPoison };

struct FillRequest {
  Fill fill = Fill::kCopy;
  std::uintptr_t start = 0;
  std::size_t length = 0;
  std::uintptr_t source = 0;  // kCopy
  bool write_protect = false;
  // Where the result is to be written, before any thread is woken; when that fails none is, and the result is -EFAULT
  // (real-kernel row 60).
  void* output = nullptr;
  bool wake = false;  // the threads that wait for what was filled
};

// -ENOENT: not registered, or more than one mapping. -EINVAL: the mapping does not do this.
// -EEXIST, -EFAULT, -ENOMEM as in ioctl_userfaultfd(2). -EAGAIN: a layout change is under way.
[[nodiscard]] long fill(Instance& instance, const FillRequest& request) noexcept;

// -ENOENT unless [start, start + length) is one registered mapping. Under Space::lock.
[[nodiscard]] long check_mapping(std::uintptr_t start, std::size_t length) noexcept;

}  // namespace userfault::engine::user

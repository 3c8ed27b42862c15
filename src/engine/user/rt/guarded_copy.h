// SPDX-License-Identifier: Apache-2.0
// Copies that survive a bad address: what copy_from_user is to the kernel.
//
// The instructions that may fault stand between labels that the SIGSEGV and SIGBUS handlers know.
// A fault in guarded_copy ends the copy early, always; a fault in touch waits like any other access
// when a monitor can resolve it, and ends early otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

extern "C" {
// Bytes that were NOT copied: 0 when all went well.
std::size_t userfault_rt_guarded_copy(void* to, const void* from, std::size_t bytes) noexcept;
// 0, or 1 when the byte at `address` cannot be read.
int userfault_rt_touch(const void* address) noexcept;
}

[[nodiscard]] inline bool guarded_copy(void* to, const void* from, std::size_t bytes) noexcept {
  return userfault_rt_guarded_copy(to, from, bytes) == 0;
}
// Waits, if a monitor has to bring the page. Never under a lock.
[[nodiscard]] inline bool touch(const void* address) noexcept { return userfault_rt_touch(address) == 0; }

enum class FaultPlace : std::uint8_t { kElsewhere, kGuardedCopy, kTouch };

// Where `instruction` is, and for a place in a guarded copy where to go on after giving up.
[[nodiscard]] FaultPlace place_of(std::uintptr_t instruction, std::uintptr_t* resume) noexcept;

}  // namespace userfault::engine::user

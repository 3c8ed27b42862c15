// SPDX-License-Identifier: Apache-2.0
// What the kernel checks of an operation's argument before it looks at any memory (mm/userfaultfd.c and
// fs/userfaultfd.c): the ranges and the mode. Pure; what does not pass is EINVAL. MOVE between two processes, which
// the kernel refuses first, is not asked about here.
#pragma once

#include <cstdint>

#include "userfault/abi.h"

namespace userfault::engine::user {

// validate_range(): whole pages, some of them, below the end of user space.
[[nodiscard]] bool is_valid_range(std::uint64_t start, std::uint64_t length) noexcept;
// validate_unaligned_range(): the same for the source of a COPY, which may begin anywhere.
[[nodiscard]] bool is_valid_source(std::uint64_t start, std::uint64_t length) noexcept;

[[nodiscard]] bool is_valid(const userfault_register& request) noexcept;
// UNREGISTER and WAKE.
[[nodiscard]] bool is_valid(const userfault_range& request) noexcept;
[[nodiscard]] bool is_valid(const userfault_copy& request) noexcept;
[[nodiscard]] bool is_valid(const userfault_zeropage& request) noexcept;
[[nodiscard]] bool is_valid(const userfault_continue& request) noexcept;
[[nodiscard]] bool is_valid(const userfault_poison& request) noexcept;
[[nodiscard]] bool is_valid(const userfault_move& request) noexcept;
[[nodiscard]] bool is_valid(const userfault_writeprotect& request) noexcept;

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
// Filling private memory that stays what it was (Kind::kNative), which has no object to fill it through.
#pragma once

#include <cstddef>
#include <cstdint>

namespace userfault::engine::user {

// Gives content to one page that is closed and empty, without opening it. The bytes (`bytes`, a page), or
// -EFAULT when the source cannot be read, -ENOMEM.
[[nodiscard]] long write_native(std::uintptr_t to, std::uintptr_t source, std::size_t bytes) noexcept;

// Puts the page of zeroes into the page table for small pages that are closed and empty, as UFFDIO_ZEROPAGE does: from
// then on they are there, registered or not. Where that cannot be had they read as zeroes all the same.
void map_zeroes(std::uintptr_t start, std::size_t pages) noexcept;

}  // namespace userfault::engine::user

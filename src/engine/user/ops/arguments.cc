// SPDX-License-Identifier: Apache-2.0
#include "engine/user/ops/arguments.h"

#include "engine/user/rt/page_size.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

bool has_only(std::uint64_t mode, std::uint64_t allowed) noexcept { return (mode & ~allowed) == 0; }

}  // namespace

bool is_valid_source(std::uint64_t start, std::uint64_t length) noexcept {
  return is_page_aligned(length) && length != 0 && start < kTaskSize && length <= kTaskSize - start;
}

bool is_valid_range(std::uint64_t start, std::uint64_t length) noexcept {
  return is_page_aligned(start) && is_valid_source(start, length);
}

bool is_valid(const userfault_range& request) noexcept { return is_valid_range(request.start, request.len); }

bool is_valid(const userfault_register& request) noexcept {
  constexpr std::uint64_t kModes =
      USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP | USERFAULT_REGISTER_MODE_MINOR;
  return request.mode != 0 && has_only(request.mode, kModes) && is_valid(request.range);
}

bool is_valid(const userfault_copy& request) noexcept {
  return is_valid_source(request.src, request.len) && is_valid_range(request.dst, request.len) &&
         has_only(request.mode, USERFAULT_COPY_MODE_DONTWAKE | USERFAULT_COPY_MODE_WP);
}

bool is_valid(const userfault_zeropage& request) noexcept {
  return is_valid(request.range) && has_only(request.mode, USERFAULT_ZEROPAGE_MODE_DONTWAKE);
}

bool is_valid(const userfault_continue& request) noexcept {
  return is_valid(request.range) &&
         has_only(request.mode, USERFAULT_CONTINUE_MODE_DONTWAKE | USERFAULT_CONTINUE_MODE_WP);
}

bool is_valid(const userfault_poison& request) noexcept {
  return is_valid(request.range) && has_only(request.mode, USERFAULT_POISON_MODE_DONTWAKE);
}

bool is_valid(const userfault_move& request) noexcept {
  return is_valid_range(request.dst, request.len) && is_valid_range(request.src, request.len) &&
         has_only(request.mode, USERFAULT_MOVE_MODE_DONTWAKE | USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES);
}

bool is_valid(const userfault_writeprotect& request) noexcept {
  constexpr std::uint64_t kBoth = USERFAULT_WRITEPROTECT_MODE_WP | USERFAULT_WRITEPROTECT_MODE_DONTWAKE;
  return is_valid(request.range) && has_only(request.mode, kBoth) && request.mode != kBoth;
}

}  // namespace userfault::engine::user

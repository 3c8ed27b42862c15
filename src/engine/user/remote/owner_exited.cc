// SPDX-License-Identifier: Apache-2.0
#include "engine/user/remote/owner_exited.h"

#include <cerrno>
#include <cstdint>

#include "engine/user/rt/syscall.h"
#include "userfault/abi.h"

namespace userfault::engine::user::remote {
namespace {

constexpr std::uint64_t kPageMask = 4095;

bool valid_unaligned(std::uint64_t start, std::uint64_t length) noexcept {
  return (length & kPageMask) == 0 && length != 0 && start < kTaskSize && length <= kTaskSize - start;
}
bool valid(const userfault_range& range) noexcept {
  return (range.start & kPageMask) == 0 && valid_unaligned(range.start, range.len);
}

template <typename T>
T as(const char* argument) noexcept {
  T value;
  __builtin_memcpy(&value, argument, sizeof value);
  return value;
}

bool has_only(std::uint64_t mode, std::uint64_t allowed) noexcept { return (mode & ~allowed) == 0; }

bool copies(const userfault_copy& copy) noexcept {
  return valid_unaligned(copy.src, copy.len) && valid({copy.dst, copy.len}) &&
         has_only(copy.mode, USERFAULT_COPY_MODE_DONTWAKE | USERFAULT_COPY_MODE_WP);
}
bool registers(const userfault_register& request) noexcept {
  constexpr std::uint64_t kModes =
      USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP | USERFAULT_REGISTER_MODE_MINOR;
  return request.mode != 0 && has_only(request.mode, kModes) && valid(request.range);
}
bool protects(const userfault_writeprotect& request) noexcept {
  constexpr std::uint64_t kBoth = USERFAULT_WRITEPROTECT_MODE_WP | USERFAULT_WRITEPROTECT_MODE_DONTWAKE;
  return valid(request.range) && has_only(request.mode, kBoth) && request.mode != kBoth;
}

// Whether the arguments pass; operations that do not exist do not.
bool passes(unsigned long operation, const char* argument) noexcept {
  constexpr std::uint64_t kContinueModes = USERFAULT_CONTINUE_MODE_DONTWAKE | USERFAULT_CONTINUE_MODE_WP;
  switch (operation) {
    case USERFAULT_IOC_COPY: return copies(as<userfault_copy>(argument));
    case USERFAULT_IOC_ZEROPAGE: {
      const auto request = as<userfault_zeropage>(argument);
      return valid(request.range) && has_only(request.mode, USERFAULT_ZEROPAGE_MODE_DONTWAKE);
    }
    case USERFAULT_IOC_CONTINUE: {
      const auto request = as<userfault_continue>(argument);
      return valid(request.range) && has_only(request.mode, kContinueModes);
    }
    case USERFAULT_IOC_POISON: {
      const auto request = as<userfault_poison>(argument);
      return valid(request.range) && has_only(request.mode, USERFAULT_POISON_MODE_DONTWAKE);
    }
    case USERFAULT_IOC_WRITEPROTECT: return protects(as<userfault_writeprotect>(argument));
    case USERFAULT_IOC_REGISTER: return registers(as<userfault_register>(argument));
    case USERFAULT_IOC_UNREGISTER:
    case USERFAULT_IOC_WAKE: return valid(as<userfault_range>(argument));
    default: return false;
  }
}

}  // namespace

int errno_when_owner_exited(unsigned long operation, const char* argument) noexcept {
  if (!passes(operation, argument)) return -EINVAL;
  if (operation == USERFAULT_IOC_WAKE) return 0;
  return operation == USERFAULT_IOC_REGISTER || operation == USERFAULT_IOC_UNREGISTER ? -ENOMEM : -ESRCH;
}

}  // namespace userfault::engine::user::remote

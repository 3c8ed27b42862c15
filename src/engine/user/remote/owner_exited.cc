// SPDX-License-Identifier: Apache-2.0
#include "engine/user/remote/owner_exited.h"

#include <cerrno>
#include <cstdint>

#include "engine/user/ops/arguments.h"
#include "userfault/abi.h"

namespace userfault::engine::user::remote {
namespace {

template <typename T>
T as(const char* argument) noexcept {
  T value;
  __builtin_memcpy(&value, argument, sizeof value);
  return value;
}

// Whether the arguments pass; operations that do not exist do not.
bool passes(unsigned long operation, const char* argument) noexcept {
  switch (operation) {
    case USERFAULT_IOC_COPY: return is_valid(as<userfault_copy>(argument));
    case USERFAULT_IOC_ZEROPAGE: return is_valid(as<userfault_zeropage>(argument));
    case USERFAULT_IOC_CONTINUE: return is_valid(as<userfault_continue>(argument));
    case USERFAULT_IOC_POISON: return is_valid(as<userfault_poison>(argument));
    case USERFAULT_IOC_WRITEPROTECT: return is_valid(as<userfault_writeprotect>(argument));
    case USERFAULT_IOC_REGISTER: return is_valid(as<userfault_register>(argument));
    case USERFAULT_IOC_UNREGISTER:
    case USERFAULT_IOC_WAKE: return is_valid(as<userfault_range>(argument));
    // MOVE, which the kernel refuses between processes before it looks at anything else, among them.
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

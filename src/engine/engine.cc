// SPDX-License-Identifier: Apache-2.0
// Which engine a descriptor belongs to, and which one hears of layout changes.
#include "engine/engine.h"

#include "engine/kernel/kernel_engine.h"
#include "engine/user/user_engine.h"

namespace userfault::engine {

// Constant-initialised and never destroyed: they must work before the first constructor and after
// the last destructor ran.
Engine& kernel_engine() noexcept {
  static constinit kernel::KernelEngine engine;
  return engine;
}

Engine& user_engine() noexcept { return user::instance(); }

Engine& engine_of(int fd) noexcept { return user_engine().owns(fd) ? user_engine() : kernel_engine(); }

int operate(int fd, unsigned long request, void* argument) noexcept {
  const int result = user::try_operate(fd, request, argument);
  return result == user::kNotOurs ? kernel_engine().operate(fd, request, argument) : result;
}

ssize_t read(int fd, void* buffer, std::size_t bytes) noexcept {
  const ssize_t result = user::try_read(fd, buffer, bytes);
  return result == user::kNotOurs ? kernel_engine().read(fd, buffer, bytes) : result;
}

Engine& layout_engine() noexcept { return user::is_active() ? user_engine() : kernel_engine(); }

}  // namespace userfault::engine

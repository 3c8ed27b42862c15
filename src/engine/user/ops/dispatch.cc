// SPDX-License-Identifier: Apache-2.0
// The order of the checks is the kernel's (mm/userfaultfd.c and fs/userfaultfd.c), because the order
// is what decides which errno a call with two faults gets.
#include "engine/user/ops/dispatch.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "engine/user/ops/arguments.h"
#include "engine/user/ops/fill.h"
#include "engine/user/ops/move.h"
#include "engine/user/ops/registration.h"
#include "engine/user/ops/write_protect.h"
#include "engine/user/rt/guarded_copy.h"
#include "engine/user/wait/fault_queue.h"

namespace userfault::engine::user {
namespace {

template <typename T>
bool fetch(T& value, const void* argument) noexcept {
  return guarded_copy(&value, argument, sizeof value);
}

template <typename T>
int store(void* argument, std::size_t offset, const T& value) noexcept {
  return guarded_copy(static_cast<char*>(argument) + offset, &value, sizeof value) ? 0 : -EFAULT;
}

// USERFAULT_EVENT_FORK=unprivileged in the environment: here the privilege guards nothing, because
// the child's descriptor reaches only a process of the same user.
bool is_fork_open_to_all() noexcept {
  constexpr char kSetting[] = "USERFAULT_EVENT_FORK=unprivileged";
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::size_t same = 0;
    while ((*entry)[same] == kSetting[same] && kSetting[same] != '\0') ++same;
    if (kSetting[same] == '\0' && (*entry)[same] == '\0') return true;
  }
  return false;
}

bool may_ptrace() noexcept {
  if (is_fork_open_to_all()) return true;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (raw_syscall(SYS_capget, as_long(&header), as_long(data)) < 0) return false;
  return (data[0].effective & (1U << CAP_SYS_PTRACE)) != 0;
}

int handshake(Instance& instance, void* argument) noexcept {
  userfault_api request;
  if (!fetch(request, argument)) return -EFAULT;
  int result = 0;
  if (request.api != USERFAULT_API) result = -EINVAL;
  else if ((request.features & USERFAULT_FEATURE_EVENT_FORK) != 0 && !may_ptrace()) result = -EPERM;
  else if ((request.features & ~USERFAULT_FEATURE_ALL) != 0) result = -EINVAL;
  else if (instance.enabled.load()) result = -EINVAL;
  if (result < 0) {
    const userfault_api zero{};
    return store(argument, 0, zero) < 0 ? -EFAULT : result;
  }
  constexpr auto bit = [](unsigned number) { return std::uint64_t{1} << number; };
  const userfault_api reply{USERFAULT_API, USERFAULT_FEATURE_ALL,
                            bit(USERFAULT_NR_API) | bit(USERFAULT_NR_REGISTER) | bit(USERFAULT_NR_UNREGISTER)};
  if (store(argument, 0, reply) < 0) return -EFAULT;
  // Asynchronous protection records what was never populated too (userfaultfd_api, Linux 6.7).
  if ((request.features & USERFAULT_FEATURE_WP_ASYNC) != 0) request.features |= USERFAULT_FEATURE_WP_UNPOPULATED;
  instance.features = request.features;
  instance.enabled.store(true);
  return 0;
}

int registration(Instance& instance, void* argument) noexcept {
  userfault_register request;
  if (!guarded_copy(&request, argument, offsetof(userfault_register, ioctls))) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  std::uint64_t ioctls = 0;
  const long result = register_range(instance, request.range.start, request.range.len, request.mode, &ioctls);
  if (result < 0) return static_cast<int>(result);
  return store(argument, offsetof(userfault_register, ioctls), ioctls);
}

int unregistration(Instance& instance, void* argument) noexcept {
  userfault_range request;
  if (!fetch(request, argument)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  return static_cast<int>(unregister_range(instance, request.start, request.len));
}

int waking(Instance& instance, void* argument) noexcept {
  userfault_range request;
  if (!fetch(request, argument)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  SignalsBlocked blocked;
  wake_range(instance, request.start, request.start + request.len);
  return 0;
}

void* output_of(void* argument, std::size_t output) noexcept { return static_cast<char*>(argument) + output; }

// How every operation with an output field ends: EAGAIN when it is not all of it.
int finish(long result, std::uint64_t length) noexcept {
  if (result < 0) return static_cast<int>(result);
  return static_cast<std::uint64_t>(result) == length ? 0 : -EAGAIN;
}

// While a layout change is under way nothing else is looked at (real-kernel row 33).
int changing(void* argument, std::size_t output) noexcept {
  return store(argument, output, std::int64_t{-EAGAIN}) < 0 ? -EFAULT : -EAGAIN;
}

int copying(Instance& instance, void* argument) noexcept {
  constexpr std::size_t kOutput = offsetof(userfault_copy, copy);
  if (instance.changing.load() != 0) return changing(argument, kOutput);
  userfault_copy request;
  if (!guarded_copy(&request, argument, kOutput)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  const long result = fill(instance, {.fill = Fill::kCopy,
                                      .start = request.dst,
                                      .length = request.len,
                                      .source = request.src,
                                      .write_protect = (request.mode & USERFAULT_COPY_MODE_WP) != 0,
                                      .output = output_of(argument, kOutput),
                                      .wake = (request.mode & USERFAULT_COPY_MODE_DONTWAKE) == 0});
  return finish(result, request.len);
}

int zeroing(Instance& instance, void* argument) noexcept {
  constexpr std::size_t kOutput = offsetof(userfault_zeropage, zeropage);
  if (instance.changing.load() != 0) return changing(argument, kOutput);
  userfault_zeropage request;
  if (!guarded_copy(&request, argument, kOutput)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  const long result = fill(instance, {.fill = Fill::kZero,
                                      .start = request.range.start,
                                      .length = request.range.len,
                                      .output = output_of(argument, kOutput),
                                      .wake = request.mode == 0});
  return finish(result, request.range.len);
}

int continuing(Instance& instance, void* argument) noexcept {
  constexpr std::size_t kOutput = offsetof(userfault_continue, mapped);
  if (instance.changing.load() != 0) return changing(argument, kOutput);
  userfault_continue request;
  if (!guarded_copy(&request, argument, kOutput)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  const long result = fill(instance, {.fill = Fill::kContinue,
                                      .start = request.range.start,
                                      .length = request.range.len,
                                      .write_protect = (request.mode & USERFAULT_CONTINUE_MODE_WP) != 0,
                                      .output = output_of(argument, kOutput),
                                      .wake = (request.mode & USERFAULT_CONTINUE_MODE_DONTWAKE) == 0});
  return finish(result, request.range.len);
}

int poisoning(Instance& instance, void* argument) noexcept {
  constexpr std::size_t kOutput = offsetof(userfault_poison, updated);
  if (instance.changing.load() != 0) return changing(argument, kOutput);
  userfault_poison request;
  if (!guarded_copy(&request, argument, kOutput)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  const long result = fill(instance, {.fill = Fill::kPoison,
                                      .start = request.range.start,
                                      .length = request.range.len,
                                      .output = output_of(argument, kOutput),
                                      .wake = request.mode == 0});
  return finish(result, request.range.len);
}

int moving(Instance& instance, void* argument) noexcept {
  constexpr std::size_t kOutput = offsetof(userfault_move, move);
  if (instance.changing.load() != 0) return changing(argument, kOutput);
  userfault_move request;
  if (!guarded_copy(&request, argument, kOutput)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  const long result = move_pages(instance, {.to = request.dst,
                                            .from = request.src,
                                            .length = request.len,
                                            .allow_holes = (request.mode & USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES) != 0});
  if (store(argument, kOutput, static_cast<std::int64_t>(result)) < 0) return -EFAULT;
  if (result > 0 && (request.mode & USERFAULT_MOVE_MODE_DONTWAKE) == 0) {
    SignalsBlocked blocked;
    wake_range(instance, request.dst, request.dst + static_cast<std::uint64_t>(result));
  }
  return finish(result, request.len);
}

int protecting(Instance& instance, void* argument) noexcept {
  if (instance.changing.load() != 0) return -EAGAIN;
  userfault_writeprotect request;
  if (!fetch(request, argument)) return -EFAULT;
  if (!is_valid(request)) return -EINVAL;
  const bool protect = (request.mode & USERFAULT_WRITEPROTECT_MODE_WP) != 0;
  const bool silent = (request.mode & USERFAULT_WRITEPROTECT_MODE_DONTWAKE) != 0;
  return static_cast<int>(write_protect(
      instance,
      {.start = request.range.start, .length = request.range.len, .protect = protect, .wake = !protect && !silent}));
}

}  // namespace

int operate(Instance& instance, unsigned long request, void* argument) noexcept {
  if (request == USERFAULT_IOC_API) return handshake(instance, argument);
  if (!instance.enabled.load(std::memory_order_acquire)) return -EINVAL;
  switch (request) {
    case USERFAULT_IOC_REGISTER: return registration(instance, argument);
    case USERFAULT_IOC_UNREGISTER: return unregistration(instance, argument);
    case USERFAULT_IOC_WAKE: return waking(instance, argument);
    case USERFAULT_IOC_COPY: return copying(instance, argument);
    case USERFAULT_IOC_ZEROPAGE: return zeroing(instance, argument);
    case USERFAULT_IOC_CONTINUE: return continuing(instance, argument);
    case USERFAULT_IOC_POISON: return poisoning(instance, argument);
    case USERFAULT_IOC_MOVE: return moving(instance, argument);
    case USERFAULT_IOC_WRITEPROTECT: return protecting(instance, argument);
    default: return -EINVAL;
  }
}

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
#include "api/open.h"

#include <fcntl.h>

#include <cerrno>

#include "abi/names.h"
#include "engine/engine.h"
#include "engine/open_methods.h"

namespace userfault::api {
namespace {

struct Handshake {
  int result = 0;  // 0 or -errno
  Features available{};
};

Handshake shake(engine::Engine& engine, int fd, Features features) {
  userfault_api argument{.api = USERFAULT_API, .features = features.bits(), .ioctls = 0};
  const int result = engine.operate(fd, USERFAULT_IOC_API, &argument);
  return {result, Features(result == 0 ? argument.features : 0)};
}

Error error_of(Operation operation, int negative, Refuser refuser = Refuser::kNone) {
  return {.operation = operation, .code = -negative, .refused_by = refuser};
}

int flags_of(const OpenOptions& options) {
  return (options.nonblocking ? O_NONBLOCK : 0) | (options.close_on_exec ? O_CLOEXEC : 0) |
         (options.user_mode_only == OpenOptions::UserModeOnly::kYes ? USERFAULT_USER_MODE_ONLY : 0);
}

bool is_refusal(int negative) {
  return negative == -EPERM || negative == -EACCES || negative == -ENOSYS || negative == -EINVAL;
}

// One open, with the second try that kIfNeeded asks for. EINVAL is what a kernel before 5.11 says
// to USER_MODE_ONLY; there the first answer is the one worth reporting. What is no refusal, as
// EMFILE, is news.
int open_once(engine::Engine& engine, const OpenOptions& options) {
  const int flags = flags_of(options);
  const int first = engine.open(flags);
  if (first >= 0 || options.user_mode_only != OpenOptions::UserModeOnly::kIfNeeded) return first;
  if (first != -EPERM && first != -EACCES) return first;
  const int second = engine.open(flags | USERFAULT_USER_MODE_ONLY);
  return is_refusal(second) ? first : second;
}

Error refused_open(EngineKind kind, const OpenOptions& options, int negative) {
  const Refuser refuser =
      kind == EngineKind::kKernel ? engine::who_refused(flags_of(options), -negative) : Refuser::kNone;
  return error_of(Operation::kOpen, negative, refuser);
}

// A feature that is as old as the running kernel and is not there was left out of its build.
Error lacking(Features missing) {
  Error error = error_of(Operation::kApi, -EINVAL, Refuser::kKernelConfig);
  error.missing_features = missing.bits();
  for (const abi::Name& feature : abi::features())
    if (missing.has(Features(feature.bit)) && engine::kernel_version() < feature.since)
      error.refused_by = Refuser::kKernelAge;
  if ((missing.bits() & ~USERFAULT_FEATURE_ALL) != 0) error.refused_by = Refuser::kKernelAge;
  return error;
}

Result<Features> offered_features(engine::Engine& engine, EngineKind kind, const OpenOptions& options) {
  const int probe = open_once(engine, options);
  if (probe < 0) return Unexpected(refused_open(kind, options, probe));
  const Handshake offered = shake(engine, probe, {});
  engine.close(probe);
  if (offered.result < 0) return Unexpected(error_of(Operation::kApi, offered.result));
  return offered.available;
}

Result<Opened> open_on(engine::Engine& engine, EngineKind kind, const OpenOptions& options) {
  const auto offered = offered_features(engine, kind, options);
  if (!offered) return Unexpected(offered.error());
  if (!offered->has(options.required)) return Unexpected(lacking(options.required - *offered));

  const Features enable = options.required | (options.wanted & *offered);
  const int fd = open_once(engine, options);
  if (fd < 0) return Unexpected(refused_open(kind, options, fd));
  const Handshake enabled = shake(engine, fd, enable);
  if (enabled.result < 0) {
    engine.close(fd);
    return Unexpected(
        error_of(Operation::kApi, enabled.result, enabled.result == -EPERM ? Refuser::kCapability : Refuser::kNone));
  }
  return Opened{.fd = fd, .engine = kind, .enabled = enable, .available = enabled.available};
}

}  // namespace

Result<Opened> open_with_handshake(const OpenOptions& options) {
  if (options.engine == EngineKind::kUser) return open_on(engine::user_engine(), EngineKind::kUser, options);
  auto kernel = open_on(engine::kernel_engine(), EngineKind::kKernel, options);
  if (kernel || options.engine == EngineKind::kKernel) return kernel;
  auto user = open_on(engine::user_engine(), EngineKind::kUser, options);
  // What the kernel said is the news; that ours is missing something is the lesser story.
  return user ? std::move(user) : std::move(kernel);
}

}  // namespace userfault::api

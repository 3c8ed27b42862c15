// SPDX-License-Identifier: Apache-2.0
#include "userfault/descriptor.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <utility>

#include "api/engine_for.h"
#include "api/open.h"
#include "engine/engine.h"

namespace userfault {

using api::engine_for;

namespace {

std::unexpected<Error> failure(Operation operation, int negative, PageRange range = {}) {
  return std::unexpected(
      Error{.operation = operation, .code = -negative, .address = range.start, .length = range.length});
}

// The four filling operations end alike: `result` is 0 or -errno, `done` the output field, which
// was set to zero before the call because kernels before 6.15 could leave it unset on EAGAIN
// (real-kernel row 13).
Result<Transfer> transfer(Operation operation, int result, std::int64_t done, PageRange range) {
  if (result == 0) return Transfer{range.length, Outcome::kComplete};
  if (result == -EEXIST) return Transfer{0, Outcome::kExists};
  if (result == -EAGAIN) {
    if (done > 0) return Transfer{static_cast<std::size_t>(done), Outcome::kPartial};
    return Transfer{0, Outcome::kRetry};
  }
  return failure(operation, result, range);
}

}  // namespace

const char* name_of(EngineKind kind) noexcept {
  switch (kind) {
    case EngineKind::kAutomatic: return "auto";
    case EngineKind::kKernel: return "kernel";
    case EngineKind::kUser: return "user";
  }
  return "unknown";
}

Descriptor::Descriptor(Descriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      engine_(other.engine_),
      enabled_(other.enabled_),
      available_(other.available_) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    engine_ = other.engine_;
    enabled_ = other.enabled_;
    available_ = other.available_;
  }
  return *this;
}

Descriptor::~Descriptor() { close(); }

void Descriptor::close() noexcept {
  if (fd_ < 0) return;
  engine_for(engine_).close(fd_);
  fd_ = -1;
}

int Descriptor::release() noexcept { return std::exchange(fd_, -1); }

Result<Descriptor> Descriptor::open(const OpenOptions& options) {
  const auto opened = api::open_with_handshake(options);
  if (!opened) return std::unexpected(opened.error());
  return Descriptor(opened->fd, opened->engine, opened->enabled, opened->available);
}

// The kernel's engine is called without a virtual call in between: this is the hot path, and bench/
// measures that it adds at most 2 % to the raw ioctl.
int Descriptor::operate(unsigned long request, void* argument) const noexcept {
  if (engine_ == EngineKind::kUser) return engine::user_engine().operate(fd_, request, argument);
  return ::ioctl(fd_, request, argument) < 0 ? -errno : 0;
}

Result<Operations> Descriptor::register_range(PageRange range, Modes modes) const {
  userfault_register argument{.range = {range.start, range.length}, .mode = modes.bits(), .ioctls = 0};
  if (const int result = operate(USERFAULT_IOC_REGISTER, &argument); result < 0)
    return failure(Operation::kRegister, result, range);
  return Operations(argument.ioctls);
}

Result<void> Descriptor::unregister(PageRange range) const {
  userfault_range argument{range.start, range.length};
  if (const int result = operate(USERFAULT_IOC_UNREGISTER, &argument); result < 0)
    return failure(Operation::kUnregister, result, range);
  return {};
}

Result<Transfer> Descriptor::copy(PageRange to, const void* from, CopyOptions options) const {
  userfault_copy argument{
      .dst = to.start,
      .src = reinterpret_cast<std::uintptr_t>(from),
      .len = to.length,
      .mode = (options.wake ? 0 : USERFAULT_COPY_MODE_DONTWAKE) | (options.write_protect ? USERFAULT_COPY_MODE_WP : 0),
      .copy = 0};
  const int result = operate(USERFAULT_IOC_COPY, &argument);
  return transfer(Operation::kCopy, result, argument.copy, to);
}

Result<Transfer> Descriptor::zeropage(PageRange range, bool wake) const {
  userfault_zeropage argument{.range = {range.start, range.length},
                              .mode = wake ? 0 : USERFAULT_ZEROPAGE_MODE_DONTWAKE,
                              .zeropage = 0};
  const int result = operate(USERFAULT_IOC_ZEROPAGE, &argument);
  return transfer(Operation::kZeropage, result, argument.zeropage, range);
}

Result<Transfer> Descriptor::resume(PageRange range, ContinueOptions options) const {
  userfault_continue argument{.range = {range.start, range.length},
                              .mode = (options.wake ? 0 : USERFAULT_CONTINUE_MODE_DONTWAKE) |
                                      (options.write_protect ? USERFAULT_CONTINUE_MODE_WP : 0),
                              .mapped = 0};
  const int result = operate(USERFAULT_IOC_CONTINUE, &argument);
  return transfer(Operation::kContinue, result, argument.mapped, range);
}

Result<Transfer> Descriptor::poison(PageRange range, bool wake) const {
  userfault_poison argument{
      .range = {range.start, range.length}, .mode = wake ? 0 : USERFAULT_POISON_MODE_DONTWAKE, .updated = 0};
  const int result = operate(USERFAULT_IOC_POISON, &argument);
  return transfer(Operation::kPoison, result, argument.updated, range);
}

Result<Transfer> Descriptor::move(PageRange to, std::uintptr_t from, MoveOptions options) const {
  userfault_move argument{.dst = to.start,
                          .src = from,
                          .len = to.length,
                          .mode = (options.wake ? 0 : USERFAULT_MOVE_MODE_DONTWAKE) |
                                  (options.allow_source_holes ? USERFAULT_MOVE_MODE_ALLOW_SRC_HOLES : 0),
                          .move = 0};
  const int result = operate(USERFAULT_IOC_MOVE, &argument);
  return transfer(Operation::kMove, result, argument.move, to);
}

Result<void> Descriptor::wake(PageRange range) const {
  userfault_range argument{range.start, range.length};
  if (const int result = operate(USERFAULT_IOC_WAKE, &argument); result < 0)
    return failure(Operation::kWake, result, range);
  return {};
}

Result<void> Descriptor::write_protect(PageRange range) const {
  userfault_writeprotect argument{.range = {range.start, range.length}, .mode = USERFAULT_WRITEPROTECT_MODE_WP};
  if (const int result = operate(USERFAULT_IOC_WRITEPROTECT, &argument); result < 0)
    return failure(Operation::kWriteprotect, result, range);
  return {};
}

Result<void> Descriptor::write_unprotect(PageRange range, bool wake) const {
  userfault_writeprotect argument{.range = {range.start, range.length},
                                  .mode = wake ? 0 : USERFAULT_WRITEPROTECT_MODE_DONTWAKE};
  if (const int result = operate(USERFAULT_IOC_WRITEPROTECT, &argument); result < 0)
    return failure(Operation::kWriteprotect, result, range);
  return {};
}

Result<std::span<userfault_msg>> Descriptor::read_raw(std::span<userfault_msg> into) const {
  const ssize_t bytes = engine_for(engine_).read(fd_, into.data(), into.size_bytes());
  if (bytes == -EAGAIN) return into.first(0);
  if (bytes < 0) return failure(Operation::kRead, static_cast<int>(bytes));
  return into.first(static_cast<std::size_t>(bytes) / sizeof(userfault_msg));
}

Result<void> Descriptor::in_thread(InThreadHandler handler, void* context) const {
  const int result = engine_for(engine_).set_in_thread(fd_, handler, context);
  if (result < 0) return failure(Operation::kInThread, result);
  return {};
}

}  // namespace userfault

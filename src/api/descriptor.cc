// SPDX-License-Identifier: Apache-2.0
#include "userfault/descriptor.h"

#include <utility>

#include "api/engine_for.h"
#include "api/fill.h"
#include "api/open.h"

namespace userfault {

using api::engine_for;

namespace {

Unexpected<Error> failure(Operation operation, int negative, PageRange range = {}) {
  return Unexpected(Error{.operation = operation, .code = -negative, .address = range.start, .length = range.length});
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
  if (!opened) return Unexpected(opened.error());
  return Descriptor(opened->fd, opened->engine, opened->enabled, opened->available);
}

// Through the engine, and not by ioctl(2) as the hot path: it keeps what is registered in mind.
Result<Operations> Descriptor::register_range(PageRange range, Modes modes) const {
  userfault_register argument{.range = {range.start, range.length}, .mode = modes.bits(), .ioctls = 0};
  if (const int result = engine_for(engine_).operate(fd_, USERFAULT_IOC_REGISTER, &argument); result < 0)
    return failure(Operation::kRegister, result, range);
  return Operations(argument.ioctls);
}

Result<void> Descriptor::unregister(PageRange range) const {
  userfault_range argument{range.start, range.length};
  if (const int result = engine_for(engine_).operate(fd_, USERFAULT_IOC_UNREGISTER, &argument); result < 0)
    return failure(Operation::kUnregister, result, range);
  return {};
}

Result<void> Descriptor::wake(PageRange range) const {
  userfault_range argument{range.start, range.length};
  if (const int result = api::operate({engine_, fd_}, USERFAULT_IOC_WAKE, &argument); result < 0)
    return failure(Operation::kWake, result, range);
  return {};
}

Result<void> Descriptor::write_protect(PageRange range) const {
  userfault_writeprotect argument{.range = {range.start, range.length}, .mode = USERFAULT_WRITEPROTECT_MODE_WP};
  if (const int result = api::operate({engine_, fd_}, USERFAULT_IOC_WRITEPROTECT, &argument); result < 0)
    return failure(Operation::kWriteprotect, result, range);
  return {};
}

Result<void> Descriptor::write_unprotect(PageRange range, bool wake) const {
  userfault_writeprotect argument{.range = {range.start, range.length},
                                  .mode = wake ? 0 : USERFAULT_WRITEPROTECT_MODE_DONTWAKE};
  if (const int result = api::operate({engine_, fd_}, USERFAULT_IOC_WRITEPROTECT, &argument); result < 0)
    return failure(Operation::kWriteprotect, result, range);
  return {};
}

Result<void> Descriptor::in_thread(InThreadHandler handler, void* context) const {
  const int result = engine_for(engine_).set_in_thread(fd_, handler, context);
  if (result < 0) return failure(Operation::kInThread, result);
  return {};
}

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// struct rt_sigframe of AArch64 (arch/arm64/kernel/signal.c): the siginfo, the ucontext with 4096
// bytes of tagged records, then, where those are not enough (SVE), the data that a record of type
// EXTRA_MAGIC points to, and above all of it the frame record that x29 points to.
#include "engine/user/signal/signal_frame.h"

#include <asm/sigcontext.h>

#include <cstddef>

extern "C" {
void userfault_rt_copy(void* to, const void* from, std::size_t words) noexcept;
extern const char userfault_rt_copy_end[];
[[noreturn]] void userfault_rt_enter(std::uintptr_t base, userfault::engine::user::Handler handler, int signal,
                                     void* context, std::uintptr_t record) noexcept;
}

namespace userfault::engine::user {
namespace {

constexpr std::size_t kInfoBytes = 128;
constexpr std::size_t kRecordsAt = offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, __reserved);
constexpr std::size_t kRecordBytes = 4096;
constexpr std::size_t kFrameRecordBytes = 16;
static_assert(sizeof(siginfo_t) == kInfoBytes);
static_assert(offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, regs) == 184);

extra_context* extra_of(ucontext_t* context) noexcept {
  unsigned char* at = reinterpret_cast<unsigned char*>(context) + kRecordsAt;
  const unsigned char* end = at + kRecordBytes;
  while (at + sizeof(_aarch64_ctx) <= end) {
    auto* head = reinterpret_cast<_aarch64_ctx*>(at);
    if (head->magic == EXTRA_MAGIC) return reinterpret_cast<extra_context*>(at);
    if (head->magic == 0 || head->size == 0) return nullptr;
    at += head->size;
  }
  return nullptr;
}

// From the siginfo to the frame record.
std::size_t bytes_of(const SignalFrame& frame) noexcept {
  std::size_t bytes = kInfoBytes + kRecordsAt + kRecordBytes;
  if (const extra_context* extra = extra_of(frame.context); extra != nullptr) {
    const std::size_t with_extra = extra->datap + extra->size - base_of(frame);
    if (with_extra > bytes) bytes = with_extra;
  }
  return (bytes + 15) & ~std::size_t{15};
}

}  // namespace

std::uintptr_t stack_pointer_of(const SignalFrame& frame) noexcept { return frame.context->uc_mcontext.sp; }

std::uintptr_t instruction_of(const SignalFrame& frame) noexcept { return frame.context->uc_mcontext.pc; }

SignalMask& mask_of(const SignalFrame& frame) noexcept {
  return *reinterpret_cast<SignalMask*>(&frame.context->uc_sigmask);
}

std::uintptr_t base_of(const SignalFrame& frame) noexcept { return reinterpret_cast<std::uintptr_t>(frame.info); }

SignalFrame move_to_interrupted_stack(const SignalFrame& frame) noexcept {
  const std::size_t bytes = bytes_of(frame);
  const std::uintptr_t record = (stack_pointer_of(frame) - kFrameRecordBytes) & ~std::uintptr_t{15};
  const std::uintptr_t base = record - bytes;
  userfault_rt_copy(reinterpret_cast<void*>(base), frame.info, (bytes + kFrameRecordBytes) / 8);
  const SignalFrame moved{.info = reinterpret_cast<siginfo_t*>(base),
                          .context = reinterpret_cast<ucontext_t*>(base + kInfoBytes)};
  if (extra_context* extra = extra_of(moved.context); extra != nullptr) extra->datap += base - base_of(frame);
  return moved;
}

bool is_copying(const SignalFrame& interrupted) noexcept {
  const std::uintptr_t at = instruction_of(interrupted);
  return at >= reinterpret_cast<std::uintptr_t>(&userfault_rt_copy) &&
         at < reinterpret_cast<std::uintptr_t>(userfault_rt_copy_end);
}

void enter_handler(const SignalFrame& frame, Handler handler, int signal) noexcept {
  userfault_rt_enter(base_of(frame), handler, signal, frame.context, base_of(frame) + bytes_of(frame));
}

}  // namespace userfault::engine::user

// SPDX-License-Identifier: Apache-2.0
#include "engine/user/rt/process_identity.h"

#include <sys/mman.h>

#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

// The process's number, which reads as zero in every child that has a copy of the memory (MADV_WIPEONFORK,
// Linux 4.14; without it, as the parent's).
constinit int* own_process = nullptr;

}  // namespace

void mark_own_process() noexcept {
  constexpr int kWipeOnFork = 18;
  if (own_process == nullptr) {
    const long at = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at < 0 && at > -4096) return;
    sys::madvise(static_cast<std::uintptr_t>(at), 4096, kWipeOnFork);
    own_process = reinterpret_cast<int*>(at);
  }
  *own_process = sys::getpid();
}

bool is_own_process() noexcept { return own_process == nullptr || *own_process != 0; }
bool is_borrowing_process() noexcept {
  return own_process != nullptr && *own_process != 0 && *own_process != sys::getpid();
}

}  // namespace userfault::engine::user

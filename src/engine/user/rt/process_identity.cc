// SPDX-License-Identifier: Apache-2.0
#include "engine/user/rt/process_identity.h"

#include <sys/mman.h>

#include "engine/user/rt/linux_abi.h"
#include "engine/user/rt/page_size.h"
#include "engine/user/rt/syscall.h"

namespace userfault::engine::user {
namespace {

// The process's number, which reads as zero in every child that has a copy of the memory (MADV_WIPEONFORK,
// Linux 4.14; without it, as the parent's).
constinit int* own_process = nullptr;

}  // namespace

void mark_own_process() noexcept {
  if (own_process == nullptr) {
    const long at = sys::mmap(0, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (is_error(at)) return;
    sys::madvise(static_cast<std::uintptr_t>(at), kPageSize, linux_abi::kWipeOnFork);
    own_process = reinterpret_cast<int*>(at);
  }
  *own_process = sys::getpid();
}

bool is_own_process() noexcept { return own_process == nullptr || *own_process != 0; }
bool is_borrowing_process() noexcept {
  return own_process != nullptr && *own_process != 0 && *own_process != sys::getpid();
}

}  // namespace userfault::engine::user

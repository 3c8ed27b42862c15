// SPDX-License-Identifier: Apache-2.0
#include "preload/trap/libc_patch.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/page_size.h"
#include "engine/user/layout/brk.h"
#include "engine/user/rt/syscall.h"
#include "preload/settings.h"
#include "preload/symbols/libc_symbols.h"
#include "preload/trap/libc_patch_target.h"

namespace userfault::preload {
namespace {

std::uintptr_t number(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

int on_munmap(void* start, std::size_t length) noexcept {
  if (active()) return finish(user_engine().munmap(number(start), length));
  return static_cast<int>(finish(engine::user::sys::munmap(number(start), length)));
}

int on_madvise(void* start, std::size_t length, int advice) noexcept {
  if (active()) return finish(user_engine().madvise(number(start), length, advice));
  return static_cast<int>(finish(engine::user::sys::madvise(number(start), length, advice)));
}

int on_mprotect(void* start, std::size_t length, int protection) noexcept {
  if (active()) return finish(user_engine().mprotect(number(start), length, protection));
  return static_cast<int>(finish(engine::user::sys::mprotect(number(start), length, protection)));
}

// libc keeps the end of the heap in a variable, which sbrk(3) starts from.
constinit void** heap_end = nullptr;

int on_brk(void* wanted) noexcept {
  *heap_end = reinterpret_cast<void*>(engine::user::change_break(number(wanted)));
  if (*heap_end >= wanted) return 0;
  errno = ENOMEM;
  return -1;
}

struct Function {
  const char* name;
  int call;
  unsigned char* theirs = nullptr;
};
constinit std::array functions = {
    Function{.name = "munmap", .call = SYS_munmap},
    Function{.name = "madvise", .call = SYS_madvise},
    Function{.name = "mprotect", .call = SYS_mprotect},
    Function{.name = "brk", .call = SYS_brk},
};

// Not in the table: a function's address as a pointer to data is no constant.
const void* ours(int call) noexcept {
  switch (call) {
    case SYS_munmap: return reinterpret_cast<const void*>(&on_munmap);
    case SYS_madvise: return reinterpret_cast<const void*>(&on_madvise);
    case SYS_mprotect: return reinterpret_cast<const void*>(&on_mprotect);
    default: return reinterpret_cast<const void*>(&on_brk);
  }
}

const char* divert(const Function& function) noexcept {
  if (function.theirs == nullptr || (function.call == SYS_brk && heap_end == nullptr))
    return "libc has no such function";
  Jump jump;
  if (!makes_call(function.theirs, function.call) || !jump_from(function.theirs, ours(function.call), &jump))
    return "libc's function is not made as expected";
  const std::uintptr_t page = number(function.theirs) & ~(base::page_size() - 1);
  if (engine::user::sys::mprotect(page, base::page_size(), PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
    return "code may not be changed here";
  put(function.theirs, jump);
  engine::user::sys::mprotect(page, base::page_size(), PROT_READ | PROT_EXEC);
  return nullptr;
}

}  // namespace

void patch_libc() noexcept {
  if (!settings().trap) return;
  // Their addresses in libc itself: the next definitions may be a sanitizer's.
  for (Function& function : functions) function.theirs = static_cast<unsigned char*>(find_in_libc(function.name));
  heap_end = static_cast<void**>(find_in_libc("__curbrk"));
  for (const Function& function : functions)
    if (const char* why = divert(function); why != nullptr)
      log_line("what libc itself does with %s is not seen: %s", function.name, why);
}

}  // namespace userfault::preload

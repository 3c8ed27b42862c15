// SPDX-License-Identifier: Apache-2.0
#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>

#include "engine/engine.h"
#include "preload/open/numbers.h"
#include "preload/open/userfaultfd.h"
#include "preload/settings.h"
#include "preload/signals/masks.h"
#include "preload/symbols/libc_symbols.h"
#include "preload/trap/libc_patch.h"
#include "preload/trap/trap.h"

namespace {

[[gnu::constructor]] void start() {
  userfault::preload::mark_inherited_mask();
  userfault::preload::note_process();
  userfault::preload::mark_inherited();
  userfault::preload::expect_inherited_traps();
}

}  // namespace

void userfault::preload::on_descriptor_opened() noexcept {
  static constinit std::atomic<bool> begun = false;
  if (begun.exchange(true)) return;
  patch_libc();
  watch_numbers(trap_raw_calls());
}

// The engines' interface has pure virtual functions; the runtime that would report a call of one is
// not linked.
extern "C" [[noreturn]] void __cxa_pure_virtual() { __builtin_trap(); }

// In-thread handlers on the kernel's engine are for programs that link libuserfault; nothing in this
// library can set one. Defined here, these keep their implementation, which allocates and needs the
// C++ runtime, out of the link.
namespace userfault::engine::kernel {

int operate_and_note(int fd, unsigned long request, void* argument) noexcept {
  return ::ioctl(fd, request, argument) == 0 ? 0 : -errno;
}
void note_unmapped(std::uintptr_t, std::size_t) noexcept {}
void note_moved(std::uintptr_t, std::size_t, std::uintptr_t, std::size_t) noexcept {}
void note_closed(int) noexcept {}
int set_in_thread_handler(int, InThreadHandler, void*) noexcept { return -ENOSYS; }

}  // namespace userfault::engine::kernel

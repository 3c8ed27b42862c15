// SPDX-License-Identifier: Apache-2.0
#include "preload/masks.h"
#include "preload/next.h"
#include "preload/settings.h"

namespace {

[[gnu::constructor]] void start() {
  userfault::preload::resolve_next();
  userfault::preload::mark_inherited_mask();
}

}  // namespace

// The engines' interface has pure virtual functions; the runtime that would report a call of one is
// not linked.
extern "C" [[noreturn]] void __cxa_pure_virtual() { __builtin_trap(); }

// SPDX-License-Identifier: Apache-2.0
// The memory of all segments of a core, one after the other, as one store.
#pragma once

#include <memory>

#include "userfault/elf_core.h"

namespace userfault::store {

[[nodiscard]] std::shared_ptr<Store> make_core_store(const ElfCore& core);

}  // namespace userfault::store

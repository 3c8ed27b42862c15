// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userfault/error.h"

namespace userfault::api {

// What an errno means for this operation and what to do about it; nullptr where errno says it all.
[[nodiscard]] const char* hint_for(Operation operation, int code) noexcept;

}  // namespace userfault::api

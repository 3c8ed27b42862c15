// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userfault/abi.h"
#include "userfault/message.h"

namespace userfault::api {

// An unknown event aborts.
[[nodiscard]] Message decode(const userfault_msg& raw) noexcept;

}  // namespace userfault::api

// SPDX-License-Identifier: Apache-2.0
#include "userfault/expected.h"

#include <cstdio>
#include <cstdlib>

namespace userfault::detail {

void abort_access(const char* broken, const char* message) noexcept {
  std::fprintf(stderr, "userfault: %s: %s\n", broken, message);
  std::abort();
}

}  // namespace userfault::detail

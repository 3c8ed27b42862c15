// SPDX-License-Identifier: Apache-2.0
#include "tools/restore/guard.h"

#include <setjmp.h>

#include <cstring>

namespace userfault::tools::restore {
namespace {

thread_local sigjmp_buf* volatile t_resume = nullptr;

void on_bus_error(int number) {
  sigjmp_buf* const resume = t_resume;
  if (resume != nullptr) siglongjmp(*resume, 1);
  // Not ours: as if this handler were not there. The access is tried again and ends the process.
  ::signal(number, SIG_DFL);
}

}  // namespace

BusGuard::BusGuard() {
  struct sigaction action {};
  action.sa_handler = &on_bus_error;
  // The handler is left by a jump that does not restore the mask, so it must not change it.
  action.sa_flags = SA_NODEFER;
  ::sigaction(SIGBUS, &action, &before_);
}

BusGuard::~BusGuard() { ::sigaction(SIGBUS, &before_, nullptr); }

std::optional<std::byte> guarded_load(const std::byte* at) {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    t_resume = nullptr;
    return std::nullopt;
  }
  t_resume = &here;
  const std::byte value = *const_cast<const volatile std::byte*>(at);
  t_resume = nullptr;
  return value;
}

bool guarded_invert(std::byte* at) {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    t_resume = nullptr;
    return false;
  }
  t_resume = &here;
  volatile std::byte* const place = at;
  *place = ~*place;
  t_resume = nullptr;
  return true;
}

std::optional<bool> guarded_equal(const std::byte* memory, const std::byte* expected, std::size_t length) {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    t_resume = nullptr;
    return std::nullopt;
  }
  t_resume = &here;
  const bool equal = std::memcmp(memory, expected, length) == 0;
  t_resume = nullptr;
  return equal;
}

}  // namespace userfault::tools::restore

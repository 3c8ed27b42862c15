// SPDX-License-Identifier: Apache-2.0
// What cannot happen in the engine, as a check that stays on in release, without libc.
//
//   USERFAULT_INVARIANT(is_busy(state), "a page was settled that its caller does not own");
//
// Where the condition does not hold, the thread writes one line to standard error, "userfault: broken invariant: a
// page was settled that its caller does not own (extent.cc:41)", and aborts the process: a state that is broken
// already must not decide which bytes a program sees. What can happen is returned instead, and never checked so.
//
// The compiler puts the line together and one write(2) puts it out. Any thread, also in a signal handler. `what` is a
// string literal. Above the engine the same is base/check.h.
#pragma once

#include <cstddef>

namespace userfault::engine::user {

[[noreturn, gnu::cold, gnu::noinline]] void abort_with(const char* line, std::size_t length) noexcept;

}  // namespace userfault::engine::user

#define USERFAULT_INVARIANT_QUOTE(number) #number
#define USERFAULT_INVARIANT_LINE(what, file, number) \
  "userfault: broken invariant: " what " (" file ":" USERFAULT_INVARIANT_QUOTE(number) ")\n"

// An expression of type void; the condition is evaluated once.
#define USERFAULT_INVARIANT(condition, what)                                                            \
  (__builtin_expect(static_cast<bool>(condition), 1)                                                    \
       ? static_cast<void>(0)                                                                           \
       : ::userfault::engine::user::abort_with(USERFAULT_INVARIANT_LINE(what, __FILE_NAME__, __LINE__), \
                                               sizeof(USERFAULT_INVARIANT_LINE(what, __FILE_NAME__, __LINE__)) - 1))

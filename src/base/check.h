// SPDX-License-Identifier: Apache-2.0
// What cannot happen, as a check that stays on in release.
//
//   USERFAULT_CHECK(left >= bytes, "more memory was given back than was taken");
//
// Where the condition does not hold, the thread writes one line to standard error, "userfault: broken
// invariant: more memory was given back than was taken (budget.h:41)", and aborts the process: a state that
// is broken already must not reach a store. What can happen is returned instead, and never checked so.
//
// The compiler puts the line together, and one write(2) puts it out: no memory, no lock, no stream. Any
// thread. `what` is a string literal. Code that may run in a signal handler of the user engine has a check
// of its own there, without the C library.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdlib>

namespace userfault::base {

[[noreturn, gnu::cold, gnu::noinline]] inline void abort_with(const char* line, std::size_t length) noexcept {
  // A short count or an error changes nothing: the core file says the same.
  if (::write(STDERR_FILENO, line, length) < 0) std::abort();
  std::abort();
}

}  // namespace userfault::base

#define USERFAULT_CHECK_QUOTE(number) #number
#define USERFAULT_CHECK_LINE(what, file, number) \
  "userfault: broken invariant: " what " (" file ":" USERFAULT_CHECK_QUOTE(number) ")\n"

// An expression of type void; the condition is evaluated once.
#define USERFAULT_CHECK(condition, what)                                                    \
  (__builtin_expect(static_cast<bool>(condition), 1)                                        \
       ? static_cast<void>(0)                                                               \
       : ::userfault::base::abort_with(USERFAULT_CHECK_LINE(what, __FILE_NAME__, __LINE__), \
                                       sizeof(USERFAULT_CHECK_LINE(what, __FILE_NAME__, __LINE__)) - 1))

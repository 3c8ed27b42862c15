// SPDX-License-Identifier: Apache-2.0
// What a test is told: the engine, the backing, and what this machine and user can do.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "support/backing.h"
#include "userfault/userfault.h"

namespace userfault::conformance {

// Thrown by helpers, caught by the runner: the machine cannot show this here, for that reason.
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Thrown by helpers, caught by the runner: the test cannot go on and has failed.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

#ifdef __SANITIZE_THREAD__
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
// Throws Skip where ThreadSanitizer is built in: it keeps signals back until the thread makes a call
// of libc, turns vfork(2) into fork(2), and needs mappings of its own when all are used up.
inline void skip_under_thread_sanitizer(const char* why) {
  if (kThreadSanitizer) throw Skip(std::string("under ThreadSanitizer ") + why);
}

struct Context {
  userfault_engine engine;
  Backing backing;
  // What userfault_open() must be given beside the flags of the test: USERFAULT_USER_MODE_ONLY
  // where the plain open is refused.
  int open_flags;
  // The features word that the engine reports.
  std::uint64_t features;
  // Whether accesses by the kernel (read(2) into the range) raise messages, or else give EFAULT.
  bool kernel_faults;
  // Whether the descriptor is a stand-in for the kernel's.
  bool stand_in = false;
  // Whether the kernel's was asked for and `userfault run` stands before it: then a stand-in has to do
  // what only calls of the program's can show, too.
  bool preloaded = false;

  [[nodiscard]] bool has(std::uint64_t wanted) const { return (features & wanted) == wanted; }
  // Throws Skip, naming the missing features.
  void require(std::uint64_t wanted) const;
  // For what only the kernel's own descriptor can show: throws Skip on a stand-in, with the entry of
  // docs/divergences.md ("REAL-39: …") that says what holds there instead.
  void differs_on_user(const char* divergence) const;
  // The same for what `userfault run` makes up for.
  void differs_unless_preloaded(const char* divergence) const;
};

// Finds out what to fill in; throws Broken when the engine does not open at all.
[[nodiscard]] Context make_context(userfault_engine engine, Backing backing);

// "EVENT_FORK|SIGBUS"
[[nodiscard]] std::string feature_names(std::uint64_t features);

}  // namespace userfault::conformance

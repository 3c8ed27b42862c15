// SPDX-License-Identifier: Apache-2.0
// What a sanitizer makes impossible, so that a test can skip and say so.
#pragma once

// gcc defines a macro, clang has a feature.
#if defined(__has_feature)
#define USERFAULT_TEST_HAS_FEATURE(name) __has_feature(name)
#else
#define USERFAULT_TEST_HAS_FEATURE(name) 0
#endif

namespace userfault::test {

#if defined(__SANITIZE_THREAD__) || USERFAULT_TEST_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || USERFAULT_TEST_HAS_FEATURE(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

// For tests that send a signal to a thread which waits in the user engine: TSan keeps signals back
// until the thread makes a call that TSan intercepts, and our waits are raw system calls.
inline constexpr char kSignalsAreHeldBack[] = "TSan holds a signal back from a thread that waits in a raw system call";

}  // namespace userfault::test

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * USERFAULT_EXPORT marks what the shared library shows to its users: every public function that is
 * not inline and every public class that has one. All else is hidden (src/userfault.map), and
 * tests/install reads the library's symbol table and fails on a symbol that is not meant.
 */
#pragma once

#if defined(__GNUC__)
#define USERFAULT_EXPORT __attribute__((visibility("default")))
#else
#define USERFAULT_EXPORT
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

struct EarlyCall {
  const char* name;
  bool (*make)();
};

// What the library's constructor called, and whether each call did what it should.
struct EarlyResults {
  const char* names[400];
  bool right[400];
  std::size_t made;
};

[[gnu::visibility("default")]] const EarlyResults& early_results();

// SPDX-License-Identifier: Apache-2.0
// Prints the names of the calls that early_calls.cc made, and fails when one of them went wrong.
#include <cstdio>

#include "early_calls.h"

int main() {
  const EarlyResults& results = early_results();
  int wrong = 0;
  for (std::size_t i = 0; i < results.made; ++i) {
    std::printf("%s\n", results.names[i]);
    if (results.right[i]) continue;
    std::fprintf(stderr, "%s: not as without the preload library\n", results.names[i]);
    ++wrong;
  }
  return wrong == 0 ? 0 : 1;
}

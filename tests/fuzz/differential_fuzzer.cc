// SPDX-License-Identifier: Apache-2.0
// usage: differential_fuzzer [libFuzzer's options] [CORPUS…]
// The differential test of tests/stress with libFuzzer's bytes as the choices, guided by the coverage
// of the user engine. A difference ends in abort() and leaves the input behind as crash-*, which the
// program takes as an argument to run it again.
#include <cstdio>
#include <cstdlib>

#include "support/differential.h"

using namespace userfault::stress;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  // Over libFuzzer's own handlers, and before an engine is opened.
  static const bool caught = (catch_access_signals(), true);
  static Differential both;
  static_cast<void>(caught);
  Choices choices(std::span(data, size));
  const Sequence sequence = make_sequence(choices);
  const auto first = both.run(sequence);
  if (!first) return 0;
  const Sequence shorter = both.shrink(sequence);
  const auto again = both.run(shorter);
  std::printf("the engines differ\n%s", to_string(again ? shorter : sequence, again ? *again : *first).c_str());
  std::fflush(stdout);
  std::abort();
}

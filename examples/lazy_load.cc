// SPDX-License-Identifier: Apache-2.0
// Loads a table lazily: the program starts at once, and only what it looks up is ever made.
//
//   example_lazy_load [--mib 1024] [--engine auto|kernel|user]
//
// The store is a function of this program. Here it computes the pages of a table of squares; it
// could as well fetch them from a server. A hundred look-ups into a table of any size cost a
// hundred pages.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>

#include "userfault/pager.h"

namespace {

constexpr int kLookUps = 100;

// Entry i of the table is i squared. Called for any part of it, in any thread.
int make_squares(void* context, std::uint64_t offset, std::span<std::byte> into) {
  (void)context;
  for (std::size_t at = 0; at < into.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t index = (offset + at) / sizeof(std::uint64_t);
    const std::uint64_t square = index * index;
    std::memcpy(into.data() + at, &square, sizeof square);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t mib = 1024;
  auto engine = userfault::EngineKind::kAutomatic;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string value = argv[i + 1];
    if (std::strcmp(argv[i], "--mib") == 0) mib = std::strtoull(argv[i + 1], nullptr, 10);
    if (value == "kernel") engine = userfault::EngineKind::kKernel;
    if (value == "user") engine = userfault::EngineKind::kUser;
  }
  auto pager = userfault::Pager::create({.engine = engine});
  if (!pager) return std::fprintf(stderr, "%s\n", pager.error().message().c_str()), 77;
  const auto mapping = pager->map(userfault::make_function_store(mib << 20, &make_squares, nullptr));
  if (!mapping) return std::fprintf(stderr, "%s\n", mapping.error().message().c_str()), 1;

  const std::span table(reinterpret_cast<const std::uint64_t*>(mapping->data()), mapping->size() / 8);
  std::mt19937_64 random(1);
  for (int i = 0; i < kLookUps; ++i) {
    const std::uint64_t index = random() % table.size();
    if (table[index] != index * index) return std::fprintf(stderr, "entry %lu is WRONG\n", index), 1;
  }
  const auto statistics = pager->statistics();
  std::printf("%d entries of a table of %llu MiB looked up: %llu KiB of it were made, by %llu faults\n", kLookUps,
              static_cast<unsigned long long>(mib), static_cast<unsigned long long>(statistics.bytes_read >> 10),
              static_cast<unsigned long long>(statistics.faults));
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Built in each language mode that the headers are for, and linked to the library, which is C++23:
// results of every shape cross the boundary, and the pager calls a store that is made here.
// languages_test.sh generates every_header.h.
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "every_header.h"

namespace {

constexpr std::size_t kBytes = std::size_t{64} << 10;

void demand(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::exit(1);
}

// Every byte is 'h'.
class Letters final : public userfault::Store {
 public:
  [[nodiscard]] std::uint64_t size() const override { return kBytes; }
  void read(std::span<userfault::StoreRequest> batch) override {
    for (userfault::StoreRequest& request : batch) {
      for (std::size_t i = 0; i < request.length; ++i) request.data[i] = std::byte{'h'};
      request.answer(0, request.length);
    }
  }
};

void values_and_errors() {
  userfault::Result<userfault::PageRange> range =
      userfault::memory::map(kBytes, {.flags = MAP_PRIVATE | MAP_ANONYMOUS});
  demand(range.has_value() && range->length == kBytes, "a trivial value");
  demand(userfault::memory::unmap(*range).has_value(), "success without a value");

  range = userfault::memory::map(0, {.flags = MAP_PRIVATE | MAP_ANONYMOUS});
  demand(!range && range.error().code == EINVAL && !range.error().message().empty(), "an error");
  demand(!userfault::memory::unmap({1, kBytes}), "an error in the place of nothing");

  const userfault::StoreResult<userfault::StoreName> name = userfault::parse_store_name("zero:4096");
  demand(name.has_value(), "a value with strings");
  const auto file = userfault::open_file_store("/nowhere/at/all");
  demand(!file && file.error().code == ENOENT && !file.error().text.empty(), "an error with a string");
  demand(file.value_or(nullptr) == nullptr, "a value in the error's place");
  demand(file.transform_error(&userfault::StoreError::code).error() == ENOENT, "an error of an error");
}

void moved_values(userfault::Descriptor opened) {
  userfault::Result<userfault::Descriptor> descriptor = std::move(opened);
  userfault::Result<userfault::Region> region = userfault::Region::create(*descriptor, kBytes);
  demand(region.has_value(), "a move-only value");
  userfault::Result<userfault::Region> taken = userfault::Unexpected(userfault::Error{});
  taken = std::move(region);
  demand(taken.has_value() && taken->range().length == kBytes, "a move-only value that is assigned");
}

void a_store_of_ones_own() {
  const auto pager = userfault::Pager::create();
  demand(pager.has_value(), "Pager::create");
  auto mapping = pager->map(std::make_shared<Letters>());
  demand(mapping.has_value(), "Pager::map");
  demand(mapping->data()[kBytes - 1] == std::byte{'h'}, "what the store brought");
  demand(mapping->close().has_value(), "Mapping::close");
}

}  // namespace

int main() {
  values_and_errors();
  auto descriptor = userfault::Descriptor::open();
  if (!descriptor) return std::fprintf(stderr, "open: %s\n", descriptor.error().message().c_str()), 77;
  moved_values(*std::move(descriptor));
  a_store_of_ones_own();
  return std::puts("hello") < 0;
}

// SPDX-License-Identifier: Apache-2.0
// The image that is restored: a flat file, or the segments of a core, each mapped by the pager.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "userfault/elf_core.h"
#include "userfault/expected.h"
#include "userfault/pager.h"

namespace userfault::tools::restore {

// A failure, as a sentence for a person.
template <typename T>
using Outcome = Expected<T, std::string>;

struct ImageOptions {
  std::string name;   // of the store
  bool flat = false;  // a range of the file was asked for: never look for a core in it
  std::uint64_t offset = 0;
  std::uint64_t length = UINT64_MAX;
  bool writable = false;
  bool mapped = false;
};

struct Part {
  std::shared_ptr<Store> store;
  std::uintptr_t wanted_address = 0;  // 0: anywhere
  std::uint64_t file_offset = 0;      // of the image, unpacked
  std::uint64_t file_size = 0;        // the rest of store->size() is zero
};

struct Image {
  std::string name;
  StoreName source;  // where its bytes are, for reading them a second time
  bool core = false;
  std::vector<Part> parts;
  [[nodiscard]] std::uint64_t bytes() const;
  // What it will take once all of it has been touched, in bytes: holes and zero parts take little.
  [[nodiscard]] std::uint64_t memory_needed() const;
};

[[nodiscard]] Outcome<Image> open_image(const ImageOptions& options);

struct MappedPart {
  Part part;
  Mapping mapping;
};

struct PlacementOptions {
  bool relocate = false;
  MapOptions map;
};

struct Placed {
  std::vector<MappedPart> parts;
  std::size_t relocated = 0;  // parts of a core that are not where they were
  bool without_huge = false;  // huge pages were asked for and there are too few
};

[[nodiscard]] Outcome<Placed> place(const Pager& pager, const Image& image, const PlacementOptions& options);

// Fails when the machine has not that much memory left; no more than a budget is needed, where
// there is one (it is not 0).
[[nodiscard]] Outcome<void> check_memory(const Image& image, std::uint64_t budget);

}  // namespace userfault::tools::restore

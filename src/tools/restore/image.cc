// SPDX-License-Identifier: Apache-2.0
#include "tools/restore/image.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <utility>

#include "userfault/packed_image.h"

namespace userfault::tools::restore {
namespace {

Outcome<Image> core_image(Image image, std::shared_ptr<Store> store) {
  const auto core = ElfCore::open(std::move(store), image.source.path);
  if (!core) return Unexpected(core.error().text + " (give --offset 0 to restore it as a flat file)");
  image.core = true;
  for (std::size_t i = 0; i < core->segments().size(); ++i) {
    const CoreSegment& segment = core->segments()[i];
    image.parts.push_back({.store = core->segment_store(i),
                           .wanted_address = segment.address,
                           .file_offset = segment.file_offset,
                           .file_size = segment.file_size});
  }
  return image;
}

// The part of it that is wanted.
Outcome<Image> flat_image(Image image, std::shared_ptr<Store> store, const ImageOptions& options) {
  const std::uint64_t all = store->size();
  if (options.offset > all)
    return Unexpected(
        fmt::format("{}: the offset {} lies behind its end at {}", image.source.path, options.offset, all));
  const std::uint64_t size = options.length == UINT64_MAX ? all - options.offset : options.length;
  if (size == 0) return Unexpected(options.name + ": nothing to restore: the image has no bytes there");
  if (size != all) {
    auto part = make_part_store(std::move(store), options.offset, size);
    if (!part) return Unexpected(part.error().text);
    store = std::move(*part);
  }
  image.parts.push_back({.store = std::move(store), .file_offset = options.offset, .file_size = size});
  return image;
}

StoreResult<std::shared_ptr<Store>> open_source(const StoreName& source, const ImageOptions& options) {
  switch (source.kind) {
    case StoreKind::kZero: return make_zero_store(source.size);
    case StoreKind::kPacked: return open_packed_store(source.path);
    default: return open_file_store(source.path, {.writable = options.writable, .mapped = options.mapped});
  }
}

struct Mapped {
  Mapping mapping;
  bool relocated;
};

Outcome<Mapped> place_part(const Pager& pager, const Part& part, const PlacementOptions& options) {
  MapOptions map = options.map;
  if (part.wanted_address != 0 && !options.relocate) {
    map.address = PageRange{part.wanted_address, 0}.data();
    if (auto mapping = pager.map(part.store, map)) return Mapped{std::move(*mapping), false};
    // Taken by this program itself, or not for user space at all ([vsyscall]): put it elsewhere.
    map.address = nullptr;
  }
  auto mapping = pager.map(part.store, map);
  if (mapping) return Mapped{std::move(*mapping), part.wanted_address != 0};
  return Unexpected(mapping.error().message());
}

}  // namespace

std::uint64_t Image::bytes() const {
  std::uint64_t sum = 0;
  for (const Part& part : parts) sum += part.store->size();
  return sum;
}

std::uint64_t Image::memory_needed() const {
  std::uint64_t sum = 0;
  for (const Part& part : parts) {
    const std::uint64_t size = part.store->size();
    sum += size / 512;  // page tables
    for (std::uint64_t at = 0; at < size;) {
      const StoreExtent extent = part.store->extent(at, size - at);
      if (!extent.zero) sum += extent.length;
      at += extent.length;
    }
  }
  return sum;
}

Outcome<Image> open_image(const ImageOptions& options) {
  const auto parsed = parse_store_name(options.name);
  if (!parsed) return Unexpected(parsed.error().text);
  Image image{.name = options.name, .source = *parsed, .parts = {}};
  // A core may be packed, and a packed image a core.
  if (parsed->kind == StoreKind::kCore)
    image.source.kind = looks_packed(parsed->path) ? StoreKind::kPacked : StoreKind::kFile;
  if (options.mapped && image.source.kind != StoreKind::kFile)
    return Unexpected(options.name + ": only a file that is not packed can be mapped");
  auto store = open_source(image.source, options);
  if (!store) return Unexpected(store.error().text);
  const bool maybe = parsed->detected || parsed->kind == StoreKind::kPacked;
  const bool core = parsed->kind == StoreKind::kCore || (maybe && ElfCore::looks_like_elf(**store));
  if (options.writable && ((core && !options.flat) || !(*store)->writable()))
    return Unexpected(options.name + ": only a flat file can be written to (a core with --offset 0)");
  return core && !options.flat ? core_image(std::move(image), std::move(*store))
                               : flat_image(std::move(image), std::move(*store), options);
}

Outcome<Placed> place(const Pager& pager, const Image& image, const PlacementOptions& options) {
  Placed placed;
  PlacementOptions now = options;
  for (const Part& part : image.parts) {
    auto mapped = place_part(pager, part, now);
    if (!mapped && now.map.huge) {
      placed.without_huge = true;
      now.map.huge = false;
      mapped = place_part(pager, part, now);
    }
    if (!mapped) return Unexpected(mapped.error());
    if (mapped->relocated) ++placed.relocated;
    placed.parts.push_back({part, std::move(mapped->mapping)});
  }
  return placed;
}

Outcome<void> check_memory(const Image& image, std::uint64_t budget) {
  std::ifstream meminfo("/proc/meminfo");
  std::string line;
  unsigned long long available_kib = 0;
  while (std::getline(meminfo, line))
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &available_kib) == 1) break;
  const std::uint64_t available = available_kib * 1024;
  const std::uint64_t whole = image.memory_needed();
  const std::uint64_t needed = budget != 0 ? std::min(budget, whole) : whole;
  if (available == 0 || needed <= available) return {};
  return Unexpected(fmt::format(
      "{}: larger than memory: it needs {} MiB, {} MiB are available; say how much it may take with --budget, "
      "restore a part of it with --offset and --length, or touch only what you need (--access none)",
      image.name, needed >> 20, available >> 20));
}

}  // namespace userfault::tools::restore

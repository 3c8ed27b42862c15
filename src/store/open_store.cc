// SPDX-License-Identifier: Apache-2.0
// Stores by name.
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>

#include "store/core_store.h"
#include "userfault/elf_core.h"
#include "userfault/packed_image.h"

namespace userfault {
namespace {

struct Scheme {
  std::string_view prefix;
  StoreKind kind;
};
constexpr std::array kSchemes{Scheme{"file:", StoreKind::kFile}, Scheme{"zstd:", StoreKind::kPacked},
                              Scheme{"core:", StoreKind::kCore}, Scheme{"zero:", StoreKind::kZero}};

StoreResult<StoreName> parse_size(std::string_view text) {
  StoreName name{.kind = StoreKind::kZero};
  const char* const end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data(), end, name.size);
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  constexpr std::string_view kUnits = "kmgt";
  unsigned shift = 0;
  bool good = code == std::errc() && unit.size() <= 1;
  if (good && !unit.empty()) {
    const char letter = static_cast<char>(std::tolower(static_cast<unsigned char>(unit[0])));
    const std::size_t index = kUnits.find(letter);
    good = index != std::string_view::npos;
    shift = static_cast<unsigned>(index + 1) * 10;
  }
  if (!good || name.size == 0 || name.size > UINT64_MAX >> shift)
    return Unexpected(
        StoreError{EINVAL, 0, "zero:" + std::string(text) + ": not a size; give bytes, or a number with k, m, g or t"});
  name.size <<= shift;
  return name;
}

StoreKind kind_of(const std::string& path) {
  if (looks_packed(path)) return StoreKind::kPacked;
  return ElfCore::looks_like_elf(path) ? StoreKind::kCore : StoreKind::kFile;
}

StoreResult<std::shared_ptr<Store>> open_core(const std::string& path, bool mapped) {
  auto whole = looks_packed(path) ? open_packed_store(path) : open_file_store(path, {.mapped = mapped});
  if (!whole) return whole;
  const auto core = ElfCore::open(std::move(*whole), path);
  if (!core) return Unexpected(core.error());
  return store::make_core_store(*core);
}

}  // namespace

StoreResult<StoreName> parse_store_name(const std::string& name) {
  for (const Scheme& scheme : kSchemes) {
    if (!name.starts_with(scheme.prefix)) continue;
    std::string rest = name.substr(scheme.prefix.size());
    if (scheme.kind == StoreKind::kZero) return parse_size(rest);
    return StoreName{.kind = scheme.kind, .path = std::move(rest)};
  }
  return StoreName{.kind = kind_of(name), .path = name, .detected = true};
}

StoreResult<std::shared_ptr<Store>> open_store(const std::string& name, const StoreOptions& options) {
  const auto parsed = parse_store_name(name);
  if (!parsed) return Unexpected(parsed.error());
  if (options.writable && parsed->kind != StoreKind::kFile)
    return Unexpected(StoreError{EROFS, 0, name + ": only a flat file can be written"});
  const bool as_it_is =
      parsed->kind == StoreKind::kFile || (parsed->kind == StoreKind::kCore && !looks_packed(parsed->path));
  if (options.mapped && !as_it_is)
    return Unexpected(StoreError{EINVAL, 0, name + ": only files that are not packed can be mapped"});
  switch (parsed->kind) {
    case StoreKind::kZero: return make_zero_store(parsed->size);
    case StoreKind::kCore: return open_core(parsed->path, options.mapped);
    case StoreKind::kPacked: return open_packed_store(parsed->path);
    case StoreKind::kFile: break;
  }
  return open_file_store(
      parsed->path,
      {.writable = options.writable, .direct = options.direct, .mapped = options.mapped, .access = options.access});
}

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Whether a library can be preloaded into a program, by the first bytes of its file.
//
// Reads memory only: any thread, and a child of vfork.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace userfault::base {

enum class ProgramKind : std::uint8_t {
  kNoElf,         // a script, or nothing that runs
  kOtherMachine,  // a binary of another architecture or word size
  kStatic,        // no loader that could preload a library
  kOtherLoader,   // not glibc's
  kGlibc,
};

struct ProgramFile {
  ProgramKind kind = ProgramKind::kNoElf;
  std::string_view loader;  // PT_INTERP, inside the bytes; empty where there is none
};

// So many bytes hold the program headers that any linker makes, and the loader's name.
inline constexpr std::size_t kProgramHead = 8192;

#if defined(__x86_64__)
inline constexpr int kOurMachine = EM_X86_64;
#else
inline constexpr int kOurMachine = EM_AARCH64;
#endif

template <typename T>
bool read_at(std::span<const char> bytes, std::size_t offset, T& value) noexcept {
  if (offset > bytes.size() || bytes.size() - offset < sizeof value) return false;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return true;
}

inline std::string_view loader_of(std::span<const char> head, const ElfW(Ehdr) & header) noexcept {
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    if (!read_at(head, header.e_phoff + i * std::size_t{header.e_phentsize}, segment)) return {};
    if (segment.p_type != PT_INTERP || segment.p_offset >= head.size()) continue;
    const char* const name = head.data() + segment.p_offset;
    return {name, ::strnlen(name, head.size() - segment.p_offset)};
  }
  return {};
}

inline ProgramFile look_at_program(std::span<const char> head) noexcept {
  if (head.size() < SELFMAG || std::memcmp(head.data(), ELFMAG, SELFMAG) != 0) return {};
  ElfW(Ehdr) header;
  if (!read_at(head, 0, header) || header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != kOurMachine)
    return {ProgramKind::kOtherMachine, {}};
  const std::string_view loader = loader_of(head, header);
  if (loader.empty()) return {ProgramKind::kStatic, {}};
  std::string_view name = loader;
  name.remove_prefix(loader.rfind('/') + 1);  // substr() could throw
  const bool glibc = name.starts_with("ld-linux") || name.starts_with("ld-2.");
  return {glibc ? ProgramKind::kGlibc : ProgramKind::kOtherLoader, loader};
}

}  // namespace userfault::base

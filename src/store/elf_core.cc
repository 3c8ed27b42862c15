// SPDX-License-Identifier: Apache-2.0
// Reading an ELF core's headers. Every number is checked against the file's size before it is used;
// sums are written so that they cannot wrap.
#include "userfault/elf_core.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/page_size.h"

namespace userfault {
namespace {

// A core of a process with vm.max_map_count mappings has 65,530 segments; nobody needs many more.
constexpr std::uint64_t kMostSegments = 1 << 20;

struct Reader {
  const std::string& path;
  Store& file;
  std::uint64_t size = file.size();

  [[nodiscard]] Unexpected<StoreError> broken(std::uint64_t offset, const std::string& why) const {
    return Unexpected(StoreError{EINVAL, offset, path + ": " + why});
  }

  StoreResult<void> read(std::uint64_t offset, void* into, std::size_t length, const char* what) const {
    if (offset > size || length > size - offset)
      return broken(offset,
                    std::string("truncated: ") + what + " ends behind the file's " + std::to_string(size) + " bytes");
    const int code = read_store(file, offset, {static_cast<std::byte*>(into), length});
    if (code == 0) return {};
    return Unexpected(StoreError{code, offset, path + ": cannot read " + what + ": " + std::strerror(code)});
  }
};

StoreResult<void> check_identity(const Reader& reader, const Elf64_Ehdr& header) {
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return reader.broken(0, "not an ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64)
    return reader.broken(EI_CLASS, "not a 64-bit ELF file; only 64-bit cores can be restored");
  constexpr auto kOurOrder = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
  if (header.e_ident[EI_DATA] != kOurOrder) return reader.broken(EI_DATA, "a core of the other byte order");
  if (header.e_type != ET_CORE)
    return reader.broken(offsetof(Elf64_Ehdr, e_type), "an ELF file, but not a core (its type is " +
                                                           std::to_string(header.e_type) + ", a core's is 4)");
  if (header.e_phentsize != sizeof(Elf64_Phdr))
    return reader.broken(offsetof(Elf64_Ehdr, e_phentsize),
                         "program headers of " + std::to_string(header.e_phentsize) + " bytes, 56 expected");
  return {};
}

// From 65,535 segments on the count stands in section header 0 (elf(5), PN_XNUM).
StoreResult<std::uint64_t> segment_count(const Reader& reader, const Elf64_Ehdr& header) {
  if (header.e_phnum != PN_XNUM) return header.e_phnum;
  if (header.e_shoff == 0 || header.e_shentsize != sizeof(Elf64_Shdr))
    return reader.broken(offsetof(Elf64_Ehdr, e_shoff),
                         "more than 65,534 segments, but no section header to count them");
  Elf64_Shdr section{};
  if (const auto read = reader.read(header.e_shoff, &section, sizeof section, "section header 0"); !read)
    return Unexpected(read.error());
  return section.sh_info;
}

StoreResult<std::vector<Elf64_Phdr>> read_program_headers(const Reader& reader) {
  Elf64_Ehdr header{};
  if (reader.size < sizeof header)
    return reader.broken(0, "too short for an ELF core (" + std::to_string(reader.size) + " bytes)");
  if (const auto read = reader.read(0, &header, sizeof header, "the ELF header"); !read)
    return Unexpected(read.error());
  if (const auto good = check_identity(reader, header); !good) return Unexpected(good.error());
  const auto count = segment_count(reader, header);
  if (!count) return Unexpected(count.error());
  if (*count > kMostSegments)
    return reader.broken(0, std::to_string(*count) + " segments; the most that is believed is 1048576");
  // Checked before memory for them is taken: a damaged count shall not cost gigabytes.
  const std::uint64_t bytes = *count * sizeof(Elf64_Phdr);
  if (header.e_phoff > reader.size || bytes > reader.size - header.e_phoff)
    return reader.broken(header.e_phoff, "truncated: the program headers end behind the file's " +
                                             std::to_string(reader.size) + " bytes");
  std::vector<Elf64_Phdr> headers(static_cast<std::size_t>(*count));
  if (const auto read =
          reader.read(header.e_phoff, headers.data(), static_cast<std::size_t>(bytes), "the program headers");
      !read)
    return Unexpected(read.error());
  return headers;
}

std::uint32_t protection_of(std::uint32_t flags) {
  return ((flags & PF_R) != 0 ? static_cast<std::uint32_t>(PROT_READ) : 0u) |
         ((flags & PF_W) != 0 ? static_cast<std::uint32_t>(PROT_WRITE) : 0u) |
         ((flags & PF_X) != 0 ? static_cast<std::uint32_t>(PROT_EXEC) : 0u);
}

StoreResult<CoreSegment> check_segment(const Reader& reader, const Elf64_Phdr& header, std::size_t index) {
  const std::string name = "segment " + std::to_string(index);
  if (header.p_vaddr % base::page_size() != 0)
    return reader.broken(header.p_offset, name + " does not begin at a page");
  if (header.p_filesz > header.p_memsz)
    return reader.broken(header.p_offset, name + " has more bytes in the file than in memory");
  const std::uint64_t last_page = UINT64_MAX - base::page_size();
  if (header.p_vaddr > last_page || header.p_memsz > last_page - header.p_vaddr)
    return reader.broken(header.p_offset, name + " wraps around the end of the address space");
  if (header.p_offset > reader.size || header.p_filesz > reader.size - header.p_offset)
    return reader.broken(header.p_offset, "truncated: " + name + " needs " + std::to_string(header.p_filesz) +
                                              " bytes at " + std::to_string(header.p_offset) + ", the file has " +
                                              std::to_string(reader.size));
  return CoreSegment{.address = header.p_vaddr,
                     .memory_size = header.p_memsz,
                     .file_offset = header.p_offset,
                     .file_size = header.p_filesz,
                     .protection = protection_of(header.p_flags)};
}

StoreResult<void> sort_and_check_overlap(const Reader& reader, std::vector<CoreSegment>& segments) {
  std::ranges::sort(segments, {}, &CoreSegment::address);
  const std::uint64_t page = base::page_size();
  for (std::size_t i = 1; i < segments.size(); ++i) {
    const CoreSegment& before = segments[i - 1];
    const std::uint64_t pages = (before.memory_size + page - 1) / page;
    if (before.address + pages * page > segments[i].address)
      return reader.broken(segments[i].file_offset, "two segments overlap in memory");
  }
  return {};
}

}  // namespace

StoreResult<ElfCore> ElfCore::open(const std::string& path) {
  auto file = open_file_store(path);
  if (!file) return Unexpected(file.error());
  return open(std::move(*file), path);
}

StoreResult<ElfCore> ElfCore::open(std::shared_ptr<Store> store, const std::string& name) {
  const Reader reader{name, *store};
  const auto headers = read_program_headers(reader);
  if (!headers) return Unexpected(headers.error());
  ElfCore core;
  core.path_ = name;
  for (std::size_t i = 0; i < headers->size(); ++i) {
    const Elf64_Phdr& header = (*headers)[i];
    if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
    auto segment = check_segment(reader, header, i);
    if (!segment) return Unexpected(segment.error());
    core.segments_.push_back(*segment);
  }
  if (core.segments_.empty()) return reader.broken(0, "a core without memory: it has no PT_LOAD segment");
  if (const auto sorted = sort_and_check_overlap(reader, core.segments_); !sorted) return Unexpected(sorted.error());
  core.file_ = std::move(store);
  return core;
}

bool ElfCore::looks_like_elf(const std::string& path) {
  const auto file = open_file_store(path);
  return file && looks_like_elf(**file);
}

bool ElfCore::looks_like_elf(Store& store) {
  std::byte magic[SELFMAG];
  return read_store(store, 0, magic) == 0 && std::memcmp(magic, ELFMAG, SELFMAG) == 0;
}

// Its place in the file was checked by open(), so there is a store.
std::shared_ptr<Store> ElfCore::segment_store(std::size_t index) const {
  const CoreSegment& segment = segments_[index];
  const std::uint64_t zeroes = segment.memory_size - segment.file_size;
  return make_part_store(file_, segment.file_offset, segment.file_size, zeroes).value_or(nullptr);
}

}  // namespace userfault

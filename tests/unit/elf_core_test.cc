// SPDX-License-Identifier: Apache-2.0
// ELF cores: what is in a good one, what is said about a bad one, and that no damage gets past.
#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "support/temporary_file.h"
#include "userfault/elf_core.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPage = 4096;

struct CoreBytes {
  Elf64_Ehdr header{};
  std::vector<Elf64_Phdr> segments;
  std::vector<std::byte> rest;  // follows the headers

  [[nodiscard]] std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(sizeof header + segments.size() * sizeof(Elf64_Phdr));
    std::memcpy(all.data(), &header, sizeof header);
    std::memcpy(all.data() + sizeof header, segments.data(), segments.size() * sizeof(Elf64_Phdr));
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  }
};

Elf64_Phdr load(std::uint64_t address, std::uint64_t offset, std::uint64_t file_size, std::uint64_t memory_size) {
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R | PF_W;
  segment.p_offset = offset;
  segment.p_vaddr = address;
  segment.p_filesz = file_size;
  segment.p_memsz = memory_size;
  return segment;
}

// A note and two segments, out of order; the second of them ends in zeroes.
CoreBytes good_core() {
  CoreBytes core;
  std::memcpy(core.header.e_ident, ELFMAG, SELFMAG);
  core.header.e_ident[EI_CLASS] = ELFCLASS64;
  core.header.e_ident[EI_DATA] = ELFDATA2LSB;
  core.header.e_type = ET_CORE;
  core.header.e_phoff = sizeof core.header;
  core.header.e_phentsize = sizeof(Elf64_Phdr);
  core.header.e_phnum = 3;
  const std::uint64_t data = sizeof core.header + 3 * sizeof(Elf64_Phdr);
  Elf64_Phdr note{};
  note.p_type = PT_NOTE;
  core.segments = {note, load(0x700000000000, data, 2 * kPage, 3 * kPage),
                   load(0x500000000000, data + 2 * kPage, 100, kPage)};
  core.rest = random_bytes(2 * kPage + 100, 5);
  return core;
}

std::string error_of(const CoreBytes& core) {
  const TemporaryFile file(core.bytes());
  const auto opened = ElfCore::open(file.path());
  if (opened) return "it was accepted";
  EXPECT_EQ(opened.error().code, EINVAL);
  EXPECT_EQ(opened.error().text.rfind(file.path(), 0), 0u) << "an error names the file first";
  return opened.error().text.substr(file.path().size() + 2);
}

struct Answer {
  int code = -1;
  std::size_t bytes = 0;
};

Answer ask(Store& store, std::uint64_t offset, std::span<std::byte> into) {
  Answer answer;
  StoreRequest request{.offset = offset, .data = into.data(), .length = into.size()};
  request.context = &answer;
  request.done = [](StoreRequest& done) { *static_cast<Answer*>(done.context) = {done.code, done.bytes}; };
  store.read({&request, 1});
  return answer;
}

TEST(ElfCore, ListsItsSegmentsByAddress) {
  const TemporaryFile file(good_core().bytes());
  const auto core = ElfCore::open(file.path());
  ASSERT_TRUE(core) << core.error().text;
  ASSERT_EQ(core->segments().size(), 2u);
  EXPECT_EQ(core->segments()[0].address, 0x500000000000u);
  EXPECT_EQ(core->segments()[0].file_size, 100u);
  EXPECT_EQ(core->segments()[1].memory_size, 3 * kPage);
}

TEST(ElfCore, GivesTheBytesOfASegmentAndZeroesBehindThem) {
  const CoreBytes core_bytes = good_core();
  const TemporaryFile file(core_bytes.bytes());
  const auto core = ElfCore::open(file.path());
  ASSERT_TRUE(core);
  const auto store = core->segment_store(1);
  ASSERT_EQ(store->size(), 3 * kPage);
  std::vector<std::byte> bytes(3 * kPage, std::byte{7});
  EXPECT_EQ(ask(*store, 0, bytes).code, 0);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + 2 * kPage, core_bytes.rest.begin()));
  EXPECT_EQ(std::count(bytes.begin() + 2 * kPage, bytes.end(), std::byte{0}), static_cast<long>(kPage));
  const StoreExtent tail = store->extent(2 * kPage, kPage);
  EXPECT_TRUE(tail.zero);
  EXPECT_EQ(tail.length, kPage);
}

TEST(ElfCore, AMissingFileIsSaidToBeMissing) {
  const auto core = ElfCore::open("/nonexistent/core");
  ASSERT_FALSE(core);
  EXPECT_EQ(core.error().code, ENOENT);
}

TEST(ElfCore, AFolderIsRefused) {
  const auto core = ElfCore::open("/");
  ASSERT_FALSE(core);
  EXPECT_NE(core.error().text.find("not a regular file"), std::string::npos) << core.error().text;
}

struct Damage {
  const char* name;
  std::function<void(CoreBytes&)> apply;
  const char* said;
};

class DamagedCore : public ::testing::TestWithParam<Damage> {};

TEST_P(DamagedCore, IsRefusedWithAReason) {
  CoreBytes core = good_core();
  GetParam().apply(core);
  EXPECT_NE(error_of(core).find(GetParam().said), std::string::npos) << error_of(core);
}

INSTANTIATE_TEST_SUITE_P(
    ElfCore, DamagedCore,
    ::testing::Values(
        Damage{"magic", [](CoreBytes& c) { c.header.e_ident[1] = 'X'; }, "not an ELF file"},
        Damage{"class32", [](CoreBytes& c) { c.header.e_ident[EI_CLASS] = ELFCLASS32; }, "not a 64-bit"},
        Damage{"byte_order", [](CoreBytes& c) { c.header.e_ident[EI_DATA] = ELFDATA2MSB; }, "byte order"},
        Damage{"executable", [](CoreBytes& c) { c.header.e_type = ET_EXEC; }, "not a core"},
        Damage{"header_size", [](CoreBytes& c) { c.header.e_phentsize = 32; }, "program headers of 32 bytes"},
        Damage{"headers_behind_the_end", [](CoreBytes& c) { c.header.e_phoff = 1 << 20; }, "truncated"},
        Damage{"headers_wrap", [](CoreBytes& c) { c.header.e_phoff = UINT64_MAX - 8; }, "truncated"},
        Damage{"count_needs_a_section", [](CoreBytes& c) { c.header.e_phnum = PN_XNUM; }, "no section header"},
        Damage{"no_memory", [](CoreBytes& c) { c.header.e_phnum = 1; }, "no PT_LOAD"},
        Damage{"segment_behind_the_end", [](CoreBytes& c) { c.segments[1].p_offset = 1 << 20; },
               "truncated: segment 1"},
        Damage{"segment_offset_wraps", [](CoreBytes& c) { c.segments[1].p_offset = UINT64_MAX - 100; },
               "truncated: segment 1"},
        Damage{"more_in_file", [](CoreBytes& c) { c.segments[1].p_memsz = kPage; }, "more bytes in the file"},
        Damage{"unaligned", [](CoreBytes& c) { c.segments[1].p_vaddr += 8; }, "does not begin at a page"},
        Damage{"address_wraps", [](CoreBytes& c) { c.segments[1].p_vaddr = UINT64_MAX - kPage + 1; }, "wraps"},
        Damage{"overlap", [](CoreBytes& c) { c.segments[2].p_vaddr = 0x700000000000 + 2 * kPage; }, "overlap"}),
    [](const auto& damage) { return std::string(damage.param.name); });

TEST(ElfCore, EveryTruncationIsRefused) {
  const std::vector<std::byte> whole = good_core().bytes();
  for (std::size_t length = 0; length < whole.size(); length += length < 300 ? 1 : 61) {
    const TemporaryFile file(std::span<const std::byte>(whole).first(length));
    const auto core = ElfCore::open(file.path());
    ASSERT_FALSE(core) << "accepted with " << length << " of " << whole.size() << " bytes";
    ASSERT_FALSE(core.error().text.empty());
  }
}

// Whatever happens to the headers: no crash, and what is accepted lies inside the file and apart.
TEST(ElfCore, RandomDamageNeverGetsPast) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::vector<std::byte> whole = good_core().bytes();
  constexpr std::size_t kHeaders = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
  TemporaryFile file(whole);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::byte> bytes = whole;
    for (unsigned n = 1 + random() % 4; n != 0; --n) bytes[random() % kHeaders] = static_cast<std::byte>(random());
    file.replace(bytes);
    const auto core = ElfCore::open(file.path());
    if (!core) continue;
    std::uint64_t end = 0;
    for (const CoreSegment& segment : core->segments()) {
      ASSERT_LE(segment.file_offset, whole.size());
      ASSERT_LE(segment.file_size, whole.size() - segment.file_offset);
      ASSERT_LE(segment.file_size, segment.memory_size);
      ASSERT_GE(segment.address, end);
      end = segment.address + segment.memory_size;
    }
  }
}

}  // namespace
}  // namespace userfault::test

// SPDX-License-Identifier: Apache-2.0
// Every number of the file is checked against the file's size before it is used.
#include "store/packed_index.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "store/codec.h"

namespace userfault::store {
namespace {

constexpr std::uint32_t kSkippable = 0x184D2A5E;
constexpr std::uint32_t kSeekable = 0x8F92EAB1;
constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kFooterBytes = 9;
constexpr unsigned kChecksumBit = 0x80;
constexpr unsigned kReservedBits = 0x7C;
// A page needs its whole frame in memory, so larger ones are not worth having.
constexpr std::uint32_t kMostFrameBytes = std::uint32_t{64} << 20;
// A table has to be in memory; of frames of 64 KiB this many are 4 TiB.
constexpr std::uint64_t kMostFrames = std::uint64_t{1} << 26;
// What zstd makes of bytes that cannot be compressed is larger by a 256th and a head (ZSTD_COMPRESSBOUND).
constexpr std::uint64_t kFrameHead = 4096;

std::uint32_t get_u32(const std::byte* at) {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) value |= static_cast<std::uint32_t>(at[i]) << (8 * i);
  return value;
}

void put_u32(std::vector<std::byte>& to, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) to.push_back(static_cast<std::byte>(value >> (8 * i)));
}

struct Footer {
  std::uint64_t frames = 0;
  std::size_t entry_bytes = 8;
  bool checksums = false;
  [[nodiscard]] std::uint64_t table_bytes() const { return kHeaderBytes + frames * entry_bytes + kFooterBytes; }
};

Unexpected<StoreError> broken(const std::string& name, std::uint64_t offset, const std::string& why) {
  return Unexpected(StoreError{EINVAL, offset, name + ": " + why});
}

Unexpected<StoreError> unreadable(const std::string& name, std::uint64_t offset, int code) {
  return Unexpected(StoreError{code, offset, name + ": cannot read it: " + std::strerror(code)});
}

StoreResult<Footer> read_footer(Store& file, const std::string& name) {
  const std::uint64_t size = file.size();
  std::array<std::byte, kFooterBytes> bytes{};
  if (size < kHeaderBytes + kFooterBytes)
    return broken(name, 0, "too short for a packed image (" + std::to_string(size) + " bytes)");
  const std::uint64_t at = size - kFooterBytes;
  if (const int code = read_store(file, at, bytes); code != 0) return unreadable(name, at, code);
  if (get_u32(bytes.data() + 5) != kSeekable)
    return broken(name, at, "not a packed image, or truncated: it does not end with a table of frames");
  const auto descriptor = static_cast<unsigned>(bytes[4]);
  if ((descriptor & kReservedBits) != 0)
    return broken(name, at + 4, "its table of frames is of a kind that is not known here");
  Footer footer{.frames = get_u32(bytes.data())};
  footer.checksums = (descriptor & kChecksumBit) != 0;
  footer.entry_bytes = footer.checksums ? 12 : 8;
  if (footer.frames > kMostFrames)
    return broken(name, at,
                  "a table of " + std::to_string(footer.frames) + " frames; the most that is believed is 67108864");
  if (footer.table_bytes() > size)
    return broken(name, at, "its table is damaged: " + std::to_string(footer.frames) + " frames do not fit the file");
  return footer;
}

// Sizes of at most 2^32 and fewer than 2^32 of them: no sum can wrap. The format allows frames of no
// bytes; believing one would mean to drop what a frame whose size was damaged has.
StoreResult<void> append_frame(PackedIndex& index, PackedFrame frame, const std::string& name, std::uint64_t place) {
  if (frame.packed == 0 || frame.size == 0) return broken(name, place, "its table is damaged: a frame without bytes");
  if (frame.size > kMostFrameBytes)
    return broken(name, place, "frames of " + std::to_string(frame.size) + " bytes; at most 64 MiB can be read here");
  if (frame.packed > std::uint64_t{frame.size} + frame.size / 128 + kFrameHead)
    return broken(
        name, place,
        "its table is damaged: " + std::to_string(frame.packed) + " bytes are to become " + std::to_string(frame.size));
  index.frames.push_back(frame);
  index.size += frame.size;
  return {};
}

// The table has no checksum of its own, and a size that is wrong in it would shift all frames that follow:
// whole bytes, at the wrong place. A frame knows its size, too.
StoreResult<void> check_size(Store& file, const PackedFrame& frame, const std::string& name) {
  std::array<std::byte, kFrameHeaderBytes> header{};
  const auto bytes = std::span(header).first(std::min<std::size_t>(header.size(), frame.packed));
  if (const int code = read_store(file, frame.offset, bytes); code != 0) return unreadable(name, frame.offset, code);
  const std::uint64_t size = content_bytes(bytes);
  if (size == 0 || size == frame.size) return {};
  return broken(
      name, frame.offset,
      "its table is damaged: a frame of " + std::to_string(size) + " bytes counts as " + std::to_string(frame.size));
}

// All frames but the last are of one size in what userfault pack makes, and then one is enough to know it.
StoreResult<void> check_sizes(Store& file, const PackedIndex& index, const std::string& name) {
  if (index.frames.empty()) return {};
  const auto first = std::span(index.frames).first(index.frames.size() - 1);
  const auto other = [&](const PackedFrame& frame) { return frame.size != first.front().size; };
  const bool alike = first.size() > 1 && std::ranges::none_of(first, other);
  const auto looked_at = alike ? first.first(1) : std::span(index.frames);
  for (const PackedFrame& frame : looked_at)
    if (const auto good = check_size(file, frame, name); !good) return good;
  return {};
}

}  // namespace

std::size_t PackedIndex::find(std::uint64_t at) const {
  const auto after = std::ranges::upper_bound(frames, at, {}, &PackedFrame::start);
  return static_cast<std::size_t>(after - frames.begin() - 1);
}

StoreResult<PackedIndex> read_index(Store& file, const std::string& name) {
  const auto footer = read_footer(file, name);
  if (!footer) return Unexpected(footer.error());
  const std::uint64_t table_at = file.size() - footer->table_bytes();
  // Before memory is taken for it: a damaged count shall not cost gigabytes.
  std::array<std::byte, kHeaderBytes> head{};
  if (const int code = read_store(file, table_at, head); code != 0) return unreadable(name, table_at, code);
  if (get_u32(head.data()) != kSkippable || get_u32(head.data() + 4) != footer->table_bytes() - kHeaderBytes)
    return broken(name, table_at, "its table of frames is damaged: its head is not where the count says");
  std::vector<std::byte> table(static_cast<std::size_t>(footer->table_bytes()));
  if (const int code = read_store(file, table_at, table); code != 0) return unreadable(name, table_at, code);
  PackedIndex index{.frames = {}, .size = 0, .checksums = footer->checksums};
  index.frames.reserve(static_cast<std::size_t>(footer->frames));
  std::uint64_t offset = 0;
  for (std::uint64_t i = 0; i < footer->frames; ++i) {
    const std::size_t entry = kHeaderBytes + static_cast<std::size_t>(i) * footer->entry_bytes;
    const PackedFrame frame{.offset = offset,
                            .start = index.size,
                            .packed = get_u32(table.data() + entry),
                            .size = get_u32(table.data() + entry + 4),
                            .checksum = footer->checksums ? get_u32(table.data() + entry + 8) : 0};
    if (const auto good = append_frame(index, frame, name, table_at + entry); !good) return Unexpected(good.error());
    offset += frame.packed;
  }
  if (offset != table_at)
    return broken(name, table_at,
                  "its table is damaged, or bytes are missing: the frames take " + std::to_string(offset) +
                      " bytes, the file has " + std::to_string(table_at));
  if (const auto good = check_sizes(file, index, name); !good) return Unexpected(good.error());
  return index;
}

bool ends_like_packed(Store& file) { return read_footer(file, "").has_value(); }

std::vector<std::byte> encode_index(const std::vector<PackedFrame>& frames) {
  const std::uint64_t content = frames.size() * std::uint64_t{12} + kFooterBytes;
  if (content > UINT32_MAX) return {};
  std::vector<std::byte> table;
  table.reserve(kHeaderBytes + static_cast<std::size_t>(content));
  put_u32(table, kSkippable);
  put_u32(table, static_cast<std::uint32_t>(content));
  for (const PackedFrame& frame : frames) {
    put_u32(table, frame.packed);
    put_u32(table, frame.size);
    put_u32(table, frame.checksum);
  }
  put_u32(table, static_cast<std::uint32_t>(frames.size()));
  table.push_back(std::byte{kChecksumBit});
  put_u32(table, kSeekable);
  return table;
}

std::uint32_t checksum_of(std::span<const std::byte> frame) {
  return frame.size() < 4 ? 0 : get_u32(frame.data() + frame.size() - 4);
}

}  // namespace userfault::store

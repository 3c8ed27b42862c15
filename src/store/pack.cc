// SPDX-License-Identifier: Apache-2.0
// Packing a file and unpacking it, several frames at a time.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "store/file.h"
#include "store/output_file.h"
#include "store/packed_frames.h"
#include "store/parallel.h"
#include "userfault/packed_image.h"

namespace userfault {
namespace store {
namespace {

StoreError no_codec(const std::string& name) { return {ENOTSUP, 0, name + ": this library was built without zstd"}; }

StoreResult<unsigned> mode_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return Unexpected(file_error(path, "cannot look at it", errno));
  return status.st_mode;
}

class Packer {
 public:
  Packer(const std::string& name, const OpenedFile& from, const OutputFile& to, const PackOptions& options)
      : name_(name),
        from_(from),
        to_(to),
        options_(options),
        pieces_((from.size + options.frame_size - 1) / options.frame_size, options.threads) {}

  [[nodiscard]] StoreResult<PackReport> run() {
    if (const auto done = pieces_.run([this] { work(); }); !done) return Unexpected(done.error());
    const auto table = encode_index(frames_);
    if (table.empty()) return Unexpected(StoreError{EFBIG, 0, name_ + ": too many frames; take larger ones"});
    if (const auto written = to_.write(offset_, table); !written) return Unexpected(written.error());
    return PackReport{.bytes = from_.size, .packed_bytes = offset_ + table.size(), .frames = frames_.size()};
  }

 private:
  void work() {
    const auto compressor = Compressor::create(options_.level);
    if (compressor == nullptr) {
      pieces_.fail({ENOMEM, 0, name_ + ": no memory for a compressor"});
      return;
    }
    std::vector<std::byte> bytes(options_.frame_size);
    std::vector<std::byte> packed(compressor->bound(bytes.size()));
    while (const auto piece = pieces_.next())
      if (!pack(*piece, *compressor, bytes, packed)) return;
  }

  bool pack(std::uint64_t piece, Compressor& compressor, std::span<std::byte> bytes, std::span<std::byte> packed) {
    const std::uint64_t start = piece * options_.frame_size;
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), from_.size - start));
    if (const Outcome read = read_exactly(from_.fd.get(), start, bytes.data(), size, true); read.code != 0) {
      const char* const why = read.code == ENODATA ? "has become shorter while it was packed" : "cannot be read";
      pieces_.fail({read.code, start + read.bytes, name_ + ": " + why + ": " + std::strerror(read.code)});
      return false;
    }
    const std::size_t length = compressor.compress(bytes.first(size), packed);
    if (length == 0) {
      pieces_.fail({EIO, start, name_ + ": the compressor failed"});
      return false;
    }
    StoreResult<void> written;
    const bool our_turn =
        pieces_.in_order(piece, [&] { written = append(packed.first(length), static_cast<std::uint32_t>(size)); });
    if (!written) pieces_.fail(written.error());
    return our_turn && written;
  }

  StoreResult<void> append(std::span<const std::byte> frame, std::uint32_t size) {
    if (auto written = to_.write(offset_, frame); !written) return written;
    frames_.push_back({.offset = offset_,
                       .start = done_,
                       .packed = static_cast<std::uint32_t>(frame.size()),
                       .size = size,
                       .checksum = checksum_of(frame)});
    offset_ += frame.size();
    done_ += size;
    if (options_.progress != nullptr) options_.progress(options_.context, done_, from_.size);
    return {};
  }

  const std::string& name_;
  const OpenedFile& from_;
  const OutputFile& to_;
  const PackOptions& options_;
  Pieces pieces_;
  // Touched in order only.
  std::vector<PackedFrame> frames_;
  std::uint64_t offset_ = 0;
  std::uint64_t done_ = 0;
};

class Unpacker {
 public:
  // `to` may be nullptr: only look.
  Unpacker(const std::string& name, PackedFrames& frames, const OutputFile* to, const PackOptions& options)
      : name_(name),
        frames_(frames),
        to_(to),
        options_(options),
        pieces_(frames.index().frames.size(), options.threads) {}

  [[nodiscard]] StoreResult<void> run() {
    return pieces_.run([this] {
      std::vector<std::byte> bytes;
      while (const auto piece = pieces_.next())
        if (!unpack(static_cast<std::size_t>(*piece), bytes)) return;
    });
  }

 private:
  bool unpack(std::size_t piece, std::vector<std::byte>& bytes) {
    const PackedFrame& frame = frames_.index().frames[piece];
    bytes.resize(frame.size);
    if (const auto failure = frames_.read(piece, bytes); failure.code != 0) {
      pieces_.fail(frames_.explain(name_, piece, failure));
      return false;
    }
    // The output is as long as it will be and empty: zeroes stay a hole.
    const bool zero = std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
    if (to_ != nullptr && !zero) {
      if (const auto written = to_->write(frame.start, bytes); !written) {
        pieces_.fail(written.error());
        return false;
      }
    }
    return pieces_.in_order(piece, [&] {
      if (options_.progress != nullptr) options_.progress(options_.context, frame.end(), frames_.index().size);
    });
  }

  const std::string& name_;
  PackedFrames& frames_;
  const OutputFile* const to_;
  const PackOptions& options_;
  Pieces pieces_;
};

StoreResult<void> check_options(const PackOptions& options) {
  const std::size_t frame = options.frame_size;
  if (frame < kSmallestFrame || frame > kLargestFrame || frame % 4096 != 0)
    return Unexpected(StoreError{EINVAL, 0, "the frame size must be 64 KiB to 2 MiB, a multiple of 4096"});
  if (options.level < 1 || options.level > 19) return Unexpected(StoreError{EINVAL, 0, "the level must be 1 to 19"});
  return {};
}

StoreResult<void> write_unpacked(const std::string& from, const std::string& to, PackedFrames& frames,
                                 const PackOptions& options) {
  const auto mode = mode_of(from);
  if (!mode) return Unexpected(mode.error());
  auto output = OutputFile::create(to, options.replace);
  if (!output) return Unexpected(output.error());
  if (auto sized = output->set_size(frames.index().size); !sized) return sized;
  if (auto done = Unpacker(from, frames, &*output, options).run(); !done) return done;
  return output->commit(*mode);
}

}  // namespace
}  // namespace store

StoreResult<PackReport> pack_file(const std::string& from, const std::string& to, const PackOptions& options) {
  if (!store::codec_available()) return Unexpected(store::no_codec(from));
  if (const auto good = store::check_options(options); !good) return Unexpected(good.error());
  const auto file = store::open_regular(from);
  if (!file) return Unexpected(file.error());
  const auto mode = store::mode_of(from);
  if (!mode) return Unexpected(mode.error());
  auto output = store::OutputFile::create(to, options.replace);
  if (!output) return Unexpected(output.error());
  const auto report = store::Packer(from, *file, *output, options).run();
  if (!report) return report;
  if (const auto done = output->commit(*mode); !done) return Unexpected(done.error());
  return report;
}

StoreResult<PackReport> unpack_file(const std::string& from, const std::string& to, const PackOptions& options) {
  if (!store::codec_available()) return Unexpected(store::no_codec(from));
  auto file = open_file_store(from);
  if (!file) return Unexpected(file.error());
  auto index = store::read_index(**file, from);
  if (!index) return Unexpected(index.error());
  const PackReport report{.bytes = index->size, .packed_bytes = (*file)->size(), .frames = index->frames.size()};
  store::PackedFrames frames(std::move(*file), std::move(*index));
  const auto done = to.empty() ? store::Unpacker(from, frames, nullptr, options).run()
                               : store::write_unpacked(from, to, frames, options);
  if (!done) return Unexpected(done.error());
  return report;
}

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Comparing what was restored with the file, read a second time through a descriptor and a loop that
// share nothing with the pager's.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "tools/last_error.h"
#include "tools/restore/access.h"
#include "tools/restore/guard.h"
#include "userfault/packed_image.h"

namespace userfault::tools::restore {
namespace {

constexpr std::size_t kChunk = std::size_t{256} << 10;
constexpr std::size_t kPage = 4096;

// The image's bytes.
class Source {
 public:
  Source() = default;
  virtual ~Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  // 0, or a positive errno; ENODATA when it is too short.
  [[nodiscard]] virtual int read(std::uint64_t offset, std::byte* into, std::size_t length) const = 0;
};

class File final : public Source {
 public:
  explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() override {
    if (fd_ >= 0) ::close(fd_);
  }
  int read(std::uint64_t offset, std::byte* into, std::size_t length) const override {
    while (length != 0) {
      const ssize_t count = ::pread(fd_, into, length, static_cast<off_t>(offset));
      if (count < 0 && last_error_code() == EINTR) continue;
      if (count < 0) return last_error_code();
      if (count == 0) return ENODATA;
      into += count;
      offset += static_cast<std::uint64_t>(count);
      length -= static_cast<std::size_t>(count);
    }
    return 0;
  }

 private:
  int fd_;
};

class Packed final : public Source {
 public:
  explicit Packed(const std::string& path) : store_(open_packed_store(path).value_or(nullptr)) {}
  int read(std::uint64_t offset, std::byte* into, std::size_t length) const override {
    return store_ == nullptr ? EIO : read_store(*store_, offset, {into, length});
  }

 private:
  std::shared_ptr<Store> store_;
};

class Zeroes final : public Source {
 public:
  int read(std::uint64_t, std::byte* into, std::size_t length) const override {
    std::memset(into, 0, length);
    return 0;
  }
};

std::unique_ptr<Source> open_again(const StoreName& name) {
  if (name.kind == StoreKind::kPacked) return std::make_unique<Packed>(name.path);
  if (name.kind == StoreKind::kZero) return std::make_unique<Zeroes>();
  return std::make_unique<File>(name.path);
}

std::string difference(const std::byte* memory, const std::byte* expected, std::size_t length, std::uint64_t offset) {
  const auto [here, there] = std::mismatch(memory, memory + length, expected);
  return fmt::format("byte {} is 0x{:02x}, the image has 0x{:02x}", offset + static_cast<std::uint64_t>(here - memory),
                     static_cast<unsigned>(*here), static_cast<unsigned>(*there));
}

// Page by page, so that one unreadable page does not hide the others.
void compare(const std::byte* memory, const std::byte* expected, std::size_t length, std::uint64_t offset,
             VerifyResult& result) {
  for (std::size_t at = 0; at < length; at += kPage) {
    const std::size_t bytes = std::min(kPage, length - at);
    const auto equal = guarded_equal(memory + at, expected + at, bytes);
    if (!equal) {
      ++result.unreadable;
    } else if (*equal) {
      result.equal_bytes += bytes;
    } else if (result.trouble.empty()) {
      result.trouble = difference(memory + at, expected + at, bytes, offset + at);
    }
    if (result.first_byte == Clock::time_point{}) result.first_byte = Clock::now();
  }
}

void verify_part(const Source& source, const MappedPart& mapped, std::vector<std::byte>& expected,
                 VerifyResult& result) {
  const std::uint64_t size = mapped.part.store->size();
  for (std::uint64_t at = 0; at < size; at += kChunk) {
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(kChunk, size - at));
    const std::uint64_t in_file =
        at < mapped.part.file_size ? std::min<std::uint64_t>(length, mapped.part.file_size - at) : 0;
    std::memset(expected.data(), 0, length);
    const int code = source.read(mapped.part.file_offset + at, expected.data(), static_cast<std::size_t>(in_file));
    if (code != 0) {
      if (result.trouble.empty())
        result.trouble = fmt::format("cannot read the image at {} to compare with: {}", mapped.part.file_offset + at,
                                     std::strerror(code));
      continue;
    }
    compare(mapped.mapping.data() + at, expected.data(), length, mapped.part.file_offset + at, result);
  }
}

}  // namespace

VerifyResult verify(const StoreName& source, const std::vector<MappedPart>& parts) {
  const auto again = open_again(source);
  std::vector<std::byte> expected(kChunk);
  VerifyResult result;
  for (const MappedPart& part : parts) verify_part(*again, part, expected, result);
  return result;
}

}  // namespace userfault::tools::restore

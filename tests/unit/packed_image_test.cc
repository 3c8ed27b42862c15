// SPDX-License-Identifier: Apache-2.0
// Packed images: what goes in comes out, and whatever is changed in one is an error, never other bytes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "store/codec.h"
#include "store/packed_index.h"
#include "support/temporary_file.h"
#include "userfault/packed_image.h"

namespace userfault::test {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

// Half of it can be compressed, and there is a hole of zeroes in the middle.
Bytes image_bytes(std::size_t size) {
  Bytes bytes = random_bytes(size, 21);
  for (std::size_t i = 0; i < size; ++i)
    if (i / 1000 % 2 == 0) bytes[i] = std::byte{7};
  std::fill(bytes.begin() + static_cast<long>(size / 4), bytes.begin() + static_cast<long>(size / 2), std::byte{0});
  return bytes;
}

class PackedImage : public testing::Test {
 protected:
  void SetUp() override {
    if (!store::codec_available()) GTEST_SKIP() << "the library was built without zstd";
    image_ = image_bytes(1'000'003);
    const TemporaryFile file(image_);
    const auto report = pack_file(file.path(), packed_path_, {.frame_size = kSmallestFrame, .threads = 3});
    ASSERT_TRUE(report) << report.error().text;
    EXPECT_EQ(report->bytes, image_.size());
    EXPECT_EQ(report->frames, 16u);
    packed_ = bytes_of(packed_path_);
    EXPECT_EQ(report->packed_bytes, packed_.size());
    EXPECT_LT(packed_.size(), image_.size());
  }
  void TearDown() override {
    ::unlink(packed_path_.c_str());
    ::unlink(out_path_.c_str());
  }

  // The bytes, or nothing and the error.
  static StoreResult<Bytes> read_all(Bytes packed) {
    const auto file = make_memory_store(packed);
    const auto store = open_packed_store(file, "image");
    if (!store) return Unexpected(store.error());
    Bytes bytes((*store)->size());
    if (const int code = read_store(**store, 0, bytes); code != 0) return Unexpected(StoreError{code, 0, "reading"});
    return bytes;
  }

  const std::string packed_path_ = TemporaryFile().path() + ".zst";
  const std::string out_path_ = TemporaryFile().path() + ".out";
  Bytes image_;
  Bytes packed_;
};

TEST_F(PackedImage, ComesBack) {
  const auto report = unpack_file(packed_path_, out_path_);
  ASSERT_TRUE(report) << report.error().text;
  EXPECT_EQ(bytes_of(out_path_), image_);
  EXPECT_TRUE(unpack_file(packed_path_, ""));
  const auto again = unpack_file(packed_path_, out_path_);
  ASSERT_FALSE(again) << "an existing file was replaced";
  EXPECT_EQ(again.error().code, EEXIST);
  EXPECT_TRUE(unpack_file(packed_path_, out_path_, {.replace = true}));
}

TEST_F(PackedImage, IsAStore) {
  EXPECT_TRUE(looks_packed(packed_path_));
  const auto store = open_store(packed_path_);
  ASSERT_TRUE(store) << store.error().text;
  EXPECT_EQ((*store)->size(), image_.size());
  EXPECT_FALSE((*store)->writable());
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    const std::size_t at = random() % image_.size();
    Bytes got(1 + random() % std::min<std::size_t>(image_.size() - at, 200'000));
    ASSERT_EQ(read_store(**store, at, got), 0);
    ASSERT_EQ(std::memcmp(got.data(), image_.data() + at, got.size()), 0) << at << " " << got.size();
  }
}

TEST_F(PackedImage, DoesNotUnpackWhenAskedNotToWait) {
  const auto store = open_packed_store(packed_path_);
  Bytes got(100);
  int code = -1;
  StoreRequest request{.offset = 0, .data = got.data(), .length = got.size(), .may_wait = false};
  request.context = &code;
  request.done = [](StoreRequest& done) { *static_cast<int*>(done.context) = done.code; };
  (*store)->read({&request, 1});
  EXPECT_EQ(code, EAGAIN);
  EXPECT_EQ(read_store(**store, 200, got), 0);
  (*store)->read({&request, 1});
  EXPECT_EQ(code, 0) << "the frame was kept";
}

TEST_F(PackedImage, EveryTruncationIsAnError) {
  for (std::size_t length = 0; length < packed_.size(); length += length < packed_.size() - 300 ? 977 : 1) {
    const auto result = read_all(Bytes(packed_.begin(), packed_.begin() + static_cast<long>(length)));
    ASSERT_FALSE(result) << length;
  }
}

// Any changed byte: an error, or (in bits that mean nothing) the same image. Never other bytes.
TEST_F(PackedImage, NoChangedByteGivesOtherBytes) {
  std::mt19937 random(6);
  int errors = 0;
  constexpr int kTries = 1500;
  for (int i = 0; i < kTries; ++i) {
    Bytes changed = packed_;
    // Every other one in the table at the end.
    const std::size_t from = i % 2 == 0 ? 0 : packed_.size() - 217;
    const std::size_t at = from + random() % (packed_.size() - from);
    changed[at] ^= static_cast<std::byte>(1u << random() % 8);
    const auto result = read_all(std::move(changed));
    errors += !result;
    if (result) {
      ASSERT_TRUE(*result == image_) << "byte " << at;
    }
  }
  EXPECT_GT(errors, kTries * 9 / 10);
}

TEST_F(PackedImage, GarbageIsNotAnImage) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Bytes garbage = random_bytes(1 + seed * 7, seed);
    if (garbage.size() > 9) {
      // With the right end, so that the numbers in front of it are looked at.
      constexpr unsigned char kMagic[] = {0xB1, 0xEA, 0x92, 0x8F};
      std::memcpy(garbage.data() + garbage.size() - 4, kMagic, 4);
      garbage[garbage.size() - 5] = std::byte{0x80};
    }
    EXPECT_FALSE(read_all(garbage)) << seed;
  }
}

TEST_F(PackedImage, DamageIsFoundWithItsPlace) {
  const auto index = store::read_index(*make_memory_store(packed_), "image");
  ASSERT_TRUE(index);
  const store::PackedFrame& frame = index->frames[3];
  Bytes changed = packed_;
  changed[frame.offset + frame.packed / 2] ^= std::byte{1};
  const TemporaryFile file(changed);
  const auto checked = unpack_file(file.path(), "");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, EBADMSG);
  EXPECT_EQ(checked.error().offset, frame.offset);
  EXPECT_NE(checked.error().text.find("frame 3 "), std::string::npos) << checked.error().text;
  EXPECT_FALSE(unpack_file(file.path(), out_path_));
  struct stat status {};
  EXPECT_NE(::stat(out_path_.c_str(), &status), 0) << "half an image was left behind";

  const auto store = open_packed_store(file.path());
  Bytes got(10);
  EXPECT_EQ(read_store(**store, frame.start + 100, got), EBADMSG);
  EXPECT_EQ(read_store(**store, frame.end(), got), 0) << "the other frames are fine";
  Bytes over(frame.size * 2);
  std::size_t good = 0;
  EXPECT_EQ(read_store(**store, frame.start - 10, over, &good), EBADMSG);
  EXPECT_EQ(good, 10u);
}

TEST_F(PackedImage, OptionsAreChecked) {
  for (const std::size_t frame : {std::size_t{4096}, kLargestFrame * 2, kSmallestFrame + 1})
    EXPECT_EQ(pack_file(packed_path_, out_path_, {.frame_size = frame}).error().code, EINVAL);
  EXPECT_EQ(pack_file(packed_path_, out_path_, {.level = 99}).error().code, EINVAL);
  EXPECT_EQ(pack_file("/nonexistent", out_path_).error().code, ENOENT);
  EXPECT_EQ(pack_file(packed_path_, "/nonexistent/x").error().code, ENOENT);
  EXPECT_EQ(unpack_file("/dev/null", out_path_).error().code, EINVAL);
}

TEST_F(PackedImage, AnEmptyFileIsAnEmptyImage) {
  const TemporaryFile empty;
  ASSERT_TRUE(pack_file(empty.path(), out_path_));
  const auto store = open_packed_store(out_path_);
  ASSERT_TRUE(store) << store.error().text;
  EXPECT_EQ((*store)->size(), 0u);
}

}  // namespace
}  // namespace userfault::test

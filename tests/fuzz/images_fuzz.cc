// SPDX-License-Identifier: Apache-2.0
// Packed images and ELF cores that were changed at random: opening and reading them may neither crash
// nor hang nor take memory that the file does not have, and what is called good has to be right.
//
// What is right: a packed image that is read without an error is the image that was packed, because
// every frame has its checksum. Of an image of which only frames were changed, and not the table, that
// is so for each part that can be read. A segment of a core is what the changed file has at the place
// that the changed header names, and zeroes behind that.
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "userfault/elf_core.h"
#include "userfault/packed_image.h"
#include "userfault/store.h"

namespace {

using userfault::Store;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kPage = 4096;
// A read at a time, and of a segment that claims more than anybody has.
constexpr std::size_t kMostRead = std::size_t{256} << 10;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLimitMemory = false;  // their own is above any limit
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kLimitMemory = false;
#else
constexpr bool kLimitMemory = true;
#endif
#else
constexpr bool kLimitMemory = true;
#endif

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  std::byte byte() { return static_cast<std::byte>(random_()); }
  std::uint64_t edge() {
    constexpr std::array<std::uint64_t, 14> kEdges{
        0,          1,          255,        4095,       4096,         1u << 26,     (1u << 26) + 1,
        0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, (1ull << 63), ~0ull - 4095, ~0ull};
    return one_in(3) ? random_() : kEdges[below(kEdges.size())];
  }

 private:
  std::mt19937_64 random_;
};

// Changes bytes inside [from, to): one or a few bits, bytes, whole numbers, copies of other places.
void change(Bytes& bytes, std::size_t from, std::size_t to, Random& random) {
  for (std::uint64_t left = 1 + random.below(4); left != 0; --left) {
    const std::size_t at = from + random.below(to - from);
    switch (random.below(5)) {
      case 0: bytes[at] ^= static_cast<std::byte>(1u << random.below(8)); break;
      case 1: bytes[at] = random.byte(); break;
      case 2:
      case 3: {
        const std::uint64_t number = random.edge();
        const std::size_t place = from + (at - from) / 4 * 4;
        std::memcpy(bytes.data() + place, &number, std::min<std::size_t>(random.one_in(2) ? 4 : 8, to - place));
        break;
      }
      default: {
        const std::size_t length = std::min<std::size_t>(1 + random.below(64), to - at);
        const std::size_t source = random.below(bytes.size() - length + 1);
        std::memmove(bytes.data() + at, bytes.data() + source, length);
      }
    }
  }
}

bool wrong(const char* what, std::uint64_t at, std::uint64_t length) {
  std::fprintf(stderr, "%s: %llu bytes at %llu\n", what, static_cast<unsigned long long>(length),
               static_cast<unsigned long long>(at));
  return false;
}

Bytes bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

struct Reached {
  int opened = 0;
  int refused = 0;
  int read = 0;    // whole
  int failed = 0;  // not whole
  // Says what it was, and whether that was all that it can be.
  [[nodiscard]] bool everything() const {
    std::printf("%d opened, %d refused, %d read, %d read in part\n", opened, refused, read, failed);
    std::fflush(stdout);
    return opened != 0 && refused != 0 && read != 0 && failed != 0;
  }
};

class PackedFuzzer {
 public:
  explicit PackedFuzzer(std::uint64_t seed) : random_(seed) {}

  // False where the library was built without zstd.
  [[nodiscard]] bool prepare() {
    image_.resize(3 * userfault::kSmallestFrame + 1234);
    for (std::size_t i = 0; i < image_.size(); ++i)
      image_[i] = i / 3000 % 2 == 0 ? static_cast<std::byte>(i / 3000 + 1) : random_.byte();
    std::string from = ::testing::TempDir() + "userfault_fuzz_XXXXXX";
    const int fd = ::mkstemp(from.data());
    const std::string to = from + ".zst";
    const bool written = ::write(fd, image_.data(), image_.size()) == static_cast<ssize_t>(image_.size());
    ::close(fd);
    const auto made = userfault::pack_file(from, to, {.frame_size = userfault::kSmallestFrame, .threads = 1});
    if (made) packed_ = bytes_of(to);
    ::unlink(from.c_str());
    ::unlink(to.c_str());
    if (!made && made.error().code == ENOTSUP) return false;
    if (!written || !made) std::abort();
    // A head of 8 bytes, 12 for each frame, a foot of 9.
    table_ = packed_.size() - (8 + 12 * made->frames + 9);
    return true;
  }

  [[nodiscard]] bool round() {
    Bytes bytes = packed_;
    const bool table = random_.one_in(2);
    // One in sixteen is as it was, so that the way of comparing is tested, too.
    const bool changed = !random_.one_in(16);
    if (changed) change(bytes, table ? table_ : 0, table ? bytes.size() : table_, random_);
    if (changed && random_.one_in(8)) bytes.resize(random_.below(bytes.size()));
    const bool only_frames = !table && bytes.size() == packed_.size();
    const auto store = userfault::open_packed_store(userfault::make_memory_store(bytes), "image");
    if (!store) {
      ++reached_.refused;
      return !store.error().text.empty() || wrong("refused without a word", 0, 0);
    }
    ++reached_.opened;
    return reads(**store, only_frames);
  }

  [[nodiscard]] bool reached_everything() const { return reached_.everything(); }

 private:
  // From the beginning to the end, in pieces that have nothing to do with the frames.
  bool reads(Store& store, bool only_frames) {
    Bytes all;
    bool whole = true;
    // A table may claim that it is much: as long as nothing of it can be read, a look is enough.
    const std::uint64_t size = std::min<std::uint64_t>(store.size(), 4 * image_.size());
    for (std::uint64_t at = 0; at < size;) {
      Bytes piece(std::min<std::uint64_t>(1 + random_.below(kMostRead), size - at));
      std::size_t good = 0;
      const int code = userfault::read_store(store, at, piece, &good);
      if (good > piece.size() || (code == 0) != (good == piece.size()))
        return wrong("a count that cannot be", at, good);
      whole = whole && code == 0;
      if (only_frames && std::memcmp(piece.data(), image_.data() + at, good) != 0)
        return wrong("other bytes of an image whose table is right", at, good);
      all.insert(all.end(), piece.begin(), piece.end());
      at += piece.size();
    }
    whole = whole && size == store.size();
    ++(whole ? reached_.read : reached_.failed);
    return !whole || all == image_ || wrong("another image", 0, all.size());
  }

  Random random_;
  Bytes image_;
  Bytes packed_;
  std::size_t table_ = 0;
  Reached reached_;
};

class CoreFuzzer {
 public:
  explicit CoreFuzzer(std::uint64_t seed) : random_(seed) {}

  [[nodiscard]] bool prepare() {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_CORE;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = kHeaders;
    std::array<Elf64_Phdr, kHeaders> segments{};
    std::uint64_t at = sizeof header + sizeof segments;
    segments[0].p_type = PT_NOTE;
    for (std::size_t i = 1; i < kHeaders; ++i) {
      const std::uint64_t length = i * 1500;
      segments[i] = {.p_type = PT_LOAD,
                     .p_flags = PF_R | PF_W,
                     .p_offset = at,
                     .p_vaddr = 0x10000000 + i * 4 * kPage,
                     .p_paddr = 0,
                     .p_filesz = length,
                     .p_memsz = i * kPage,
                     .p_align = kPage};
      at += length;
    }
    core_.resize(at);
    for (std::byte& byte : core_) byte = random_.byte();
    std::memcpy(core_.data(), &header, sizeof header);
    std::memcpy(core_.data() + sizeof header, segments.data(), sizeof segments);
    return true;
  }

  [[nodiscard]] bool round() {
    Bytes bytes = core_;
    change(bytes, 0, sizeof(Elf64_Ehdr) + kHeaders * sizeof(Elf64_Phdr), random_);
    if (random_.one_in(8)) bytes.resize(random_.below(bytes.size()));
    const auto core = userfault::ElfCore::open(userfault::make_memory_store(bytes), "core");
    if (!core) {
      ++reached_.refused;
      return !core.error().text.empty() || wrong("refused without a word", 0, 0);
    }
    ++reached_.opened;
    for (std::size_t i = 0; i < core->segments().size(); ++i)
      if (!segment_is_right(*core, i, bytes)) return false;
    return true;
  }

  [[nodiscard]] bool reached_everything() const { return reached_.everything(); }

 private:
  static constexpr std::size_t kHeaders = 4;

  bool segment_is_right(const userfault::ElfCore& core, std::size_t index, const Bytes& bytes) {
    const userfault::CoreSegment& segment = core.segments()[index];
    if (segment.file_offset > bytes.size() || segment.file_size > bytes.size() - segment.file_offset)
      return wrong("a segment that the file does not have", segment.file_offset, segment.file_size);
    const auto store = core.segment_store(index);
    if (store == nullptr || store->size() != segment.memory_size)
      return wrong("a store that is not the segment", segment.address, segment.memory_size);
    // The beginning with all that is in the file, and somewhere else.
    const bool whole = segment.memory_size <= kMostRead;
    ++(whole ? reached_.read : reached_.failed);
    return part_is_right(*store, segment, bytes, 0) &&
           part_is_right(*store, segment, bytes, random_.below(segment.memory_size));
  }

  bool part_is_right(Store& store, const userfault::CoreSegment& segment, const Bytes& bytes, std::uint64_t at) {
    Bytes got(std::min<std::uint64_t>(kMostRead, store.size() - at), std::byte{1});
    if (const int code = userfault::read_store(store, at, got); code != 0)
      return wrong(std::strerror(code), at, got.size());
    const auto stored = static_cast<std::size_t>(
        std::min<std::uint64_t>(got.size(), segment.file_size - std::min(at, segment.file_size)));
    if (stored != 0 && std::memcmp(got.data(), bytes.data() + segment.file_offset + at, stored) != 0)
      return wrong("other bytes of a segment", at, stored);
    const bool zeroes = std::all_of(got.begin() + static_cast<std::ptrdiff_t>(stored), got.end(),
                                    [](std::byte byte) { return byte == std::byte{0}; });
    return zeroes || wrong("no zeroes behind a segment", at, got.size());
  }

  Random random_;
  Bytes core_;
  Reached reached_;
};

// Much more than the largest frame that there may be; a number that is believed unseen asks for more still.
void limit_memory() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t most = pages * kPage + (rlim_t{1} << 30);
  const rlimit limit{most, most};
  if (pages == 0 || ::setrlimit(RLIMIT_AS, &limit) != 0) std::abort();
}

enum End : int { kFine, kWrong, kNotEverything, kNoCodec };

template <typename Fuzzer>
End fuzz(std::uint64_t seed, std::chrono::seconds time) {
  Fuzzer fuzzer(seed);
  if (!fuzzer.prepare()) return kNoCodec;
  if (kLimitMemory) limit_memory();
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end)
    for (int i = 0; i < 50; ++i)
      if (!fuzzer.round()) return kWrong;
  return fuzzer.reached_everything() ? kFine : kNotEverything;
}

template <typename Fuzzer>
void run() {
  const std::uint64_t seed = from_environment("USERFAULT_FUZZ_SEED", std::random_device{}());
  const std::uint64_t seconds = from_environment("USERFAULT_FUZZ_SECONDS", 2);
  std::printf("seed %llu (USERFAULT_FUZZ_SEED repeats it)\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  // A child, so that a hang ends (SIGALRM) and a crash is told from a failure.
  const pid_t child = fork();
  if (child == 0) {
    alarm(static_cast<unsigned>(seconds) + 30);
    // What is thrown for want of memory ends the child, and not only a test in it.
    [&]() noexcept { _exit(fuzz<Fuzzer>(seed, std::chrono::seconds(seconds))); }();
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoCodec) GTEST_SKIP() << "the library was built without zstd";
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status) << ", seed " << seed;
  EXPECT_EQ(WEXITSTATUS(status), kFine) << "1: wrong, 2: some code was never reached; seed " << seed;
}

TEST(Images, ChangedPackedImagesAreErrorsOrTheSame) { run<PackedFuzzer>(); }

TEST(Images, ChangedCoresAreRefusedOrRead) { run<CoreFuzzer>(); }

}  // namespace

// SPDX-License-Identifier: Apache-2.0
// Which way from a file in the page cache to a page behind a pointer is the fastest?
//
// The pager reads into a buffer and fills with UFFDIO_COPY. Ways that copy less are at hand: reading
// straight into shared memory and UFFDIO_CONTINUE, moving the pages of a buffer (UFFDIO_MOVE), of 2 MiB
// too, splicing, copying out of a mapping of the file, or showing the file itself. Each fills all of the
// memory, 256 KiB at a time (2 MiB for the huge ones), and then everything is read once: a way that
// leaves work to the reader is not faster. On the kernel's engine; the ratio is the first way's time
// divided by each one's, medians of several repetitions in turns. docs/performance.md has the table.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "support/interleaved.h"
#include "support/options.h"
#include "userfault/userfault.h"

namespace {

using userfault::bench::median;
using userfault::bench::nanoseconds;

constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::size_t kChunk = std::size_t{256} << 10;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "fill_ways_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

std::byte* checked_map(std::size_t bytes, int protection, int flags, int fd) {
  void* const at = ::mmap(nullptr, bytes, protection, flags, fd, 0);
  if (at == MAP_FAILED) give_up("mmap");
  return static_cast<std::byte*>(at);
}

class Fixture {
 public:
  Fixture(int file, std::size_t bytes) : file_(file), bytes_(bytes), fd_(userfault_open(USERFAULT_ENGINE_KERNEL, 0)) {
    if (fd_ < 0) give_up("userfault_open");
    if (userfault_ioctl_api(fd_, 0, nullptr, nullptr) != 0) give_up("UFFDIO_API");
    buffer_ = huge_aligned(checked_map(2 * kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1));
    std::memset(buffer_, 1, kHuge);
  }

  // The region that a way fills; shared ones have an object and, if wanted, a second mapping.
  void begin(bool shared, bool huge_pages) {
    object_ = shared ? ::memfd_create("fill_ways", MFD_CLOEXEC) : -1;
    if (shared && ::ftruncate(object_, static_cast<off_t>(bytes_)) != 0) give_up("ftruncate");
    const int flags = shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    whole_ = checked_map(bytes_ + (shared ? 0 : kHuge), PROT_READ | PROT_WRITE, flags, object_);
    region_ = shared ? whole_ : huge_aligned(whole_);
    if (huge_pages) ::madvise(region_, bytes_, MADV_HUGEPAGE);
    const std::uint64_t modes =
        USERFAULT_REGISTER_MODE_MISSING | (shared ? USERFAULT_REGISTER_MODE_MINOR : std::uint64_t{0});
    if (userfault_ioctl_register(fd_, region_, bytes_, modes, nullptr) != 0) give_up("UFFDIO_REGISTER");
  }
  void end() {
    ::munmap(whole_, bytes_ + (object_ >= 0 ? 0 : kHuge));
    if (object_ >= 0) ::close(object_);
  }

  void read_file(std::byte* into, std::size_t at, std::size_t length) const {
    if (::pread(file_, into, length, static_cast<off_t>(at)) != static_cast<ssize_t>(length)) give_up("pread");
  }
  void copy(std::size_t at, const std::byte* from) const {
    if (userfault_ioctl_copy(fd_, region_ + at, from, kChunk, 0, nullptr) != 0) give_up("UFFDIO_COPY");
  }
  void resume(std::size_t at) const {
    if (userfault_ioctl_continue(fd_, region_ + at, kChunk, 0, nullptr) != 0) give_up("UFFDIO_CONTINUE");
  }
  void move(std::size_t at, std::byte* from, std::size_t length) const {
    if (userfault_ioctl_move(fd_, region_ + at, from, length, 0, nullptr) != 0) give_up("UFFDIO_MOVE");
  }
  void walk() const {
    const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(region_);
    for (std::size_t i = 0; i < bytes_ / 8; ++i) static_cast<void>(words[i]);
  }
  [[nodiscard]] int file() const { return file_; }
  [[nodiscard]] int object() const { return object_; }
  [[nodiscard]] std::byte* region() const { return region_; }
  [[nodiscard]] std::byte* buffer() const { return buffer_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  static std::byte* huge_aligned(std::byte* at) {
    return at + (kHuge - reinterpret_cast<std::uintptr_t>(at) % kHuge) % kHuge;
  }
  int file_;
  std::size_t bytes_;
  int fd_;
  std::byte* buffer_ = nullptr;
  int object_ = -1;
  std::byte* whole_ = nullptr;
  std::byte* region_ = nullptr;
};

template <typename Step>
void each_chunk(const Fixture& f, Step step, std::size_t length = kChunk) {
  for (std::size_t at = 0; at < f.bytes(); at += length) step(at);
}

void copy_private(Fixture& f) {
  each_chunk(f, [&](std::size_t at) { f.read_file(f.buffer(), at, kChunk), f.copy(at, f.buffer()); });
}

void write_and_continue(Fixture& f) {
  each_chunk(f, [&](std::size_t at) {
    f.read_file(f.buffer(), at, kChunk);
    if (::pwrite(f.object(), f.buffer(), kChunk, static_cast<off_t>(at)) != kChunk) give_up("pwrite");
    f.resume(at);
  });
}

void read_and_continue(Fixture& f) {
  std::byte* const view = checked_map(f.bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, f.object());
  each_chunk(f, [&](std::size_t at) { f.read_file(view + at, at, kChunk), f.resume(at); });
  ::munmap(view, f.bytes());
}

void splice_and_continue(Fixture& f) {
  int ends[2];
  if (::pipe(ends) != 0) give_up("pipe");
  ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  each_chunk(f, [&](std::size_t at) {
    auto from = static_cast<loff_t>(at);
    auto to = static_cast<loff_t>(at);
    for (std::size_t left = kChunk; left != 0;) {
      const ssize_t in = ::splice(f.file(), &from, ends[1], nullptr, left, SPLICE_F_MOVE);
      if (in <= 0) give_up("splice");
      for (ssize_t rest = in; rest > 0;) {
        const ssize_t out = ::splice(ends[0], nullptr, f.object(), &to, static_cast<std::size_t>(rest), SPLICE_F_MOVE);
        if (out <= 0) give_up("splice");
        rest -= out;
      }
      left -= static_cast<std::size_t>(in);
    }
    f.resume(at);
  });
  ::close(ends[0]), ::close(ends[1]);
}

void copy_from_mapping(Fixture& f) {
  const std::byte* const view = checked_map(f.bytes(), PROT_READ, MAP_SHARED, f.file());
  each_chunk(f, [&](std::size_t at) { f.copy(at, view + at); });
  ::munmap(const_cast<std::byte*>(view), f.bytes());
}

void move_pages(Fixture& f) {
  ::madvise(f.buffer(), kHuge, MADV_NOHUGEPAGE);
  each_chunk(f, [&](std::size_t at) { f.read_file(f.buffer(), at, kChunk), f.move(at, f.buffer(), kChunk); });
}

void move_huge_pages(Fixture& f) {
  ::madvise(f.buffer(), kHuge, MADV_HUGEPAGE);
  each_chunk(
      f, [&](std::size_t at) { f.read_file(f.buffer(), at, kHuge), f.move(at, f.buffer(), kHuge); }, kHuge);
}

void map_file(Fixture& f) {
  each_chunk(f, [&](std::size_t at) {
    if (::mmap(f.region() + at, kChunk, PROT_READ, MAP_SHARED | MAP_FIXED, f.file(), static_cast<off_t>(at)) ==
        MAP_FAILED)
      give_up("mmap");
  });
}

struct Way {
  const char* name;
  void (*fill)(Fixture&);
  bool shared = false;
  bool huge = false;
};

constexpr Way kWays[] = {
    {"read into a buffer, UFFDIO_COPY, private memory", copy_private},
    {"the same, shared memory", copy_private, true},
    {"read into a buffer, pwrite into shared memory, UFFDIO_CONTINUE", write_and_continue, true},
    {"read straight into shared memory, UFFDIO_CONTINUE", read_and_continue, true},
    {"splice into shared memory, UFFDIO_CONTINUE", splice_and_continue, true},
    {"read into a buffer, UFFDIO_MOVE", move_pages},
    {"read into a huge page, UFFDIO_MOVE of 2 MiB", move_huge_pages, false, true},
    {"UFFDIO_COPY out of a mapping of the file", copy_from_mapping},
    {"the file itself, mapped over it", map_file},
};

// A buffer whose pages were moved away is faulted in again, which belongs to the way.
double measure(Fixture& f, const Way& way) {
  f.begin(way.shared, way.huge);
  const double ns = nanoseconds([&] {
    way.fill(f);
    f.walk();
  });
  f.end();
  return ns;
}

int make_file(const std::string& path, std::size_t bytes) {
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  ::unlink(path.c_str());
  const std::vector<char> block(std::size_t{1} << 20, 'x');
  for (std::size_t at = 0; at < bytes; at += block.size())
    if (::write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size())) give_up("write");
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t mib = 256;
  int repetitions = 7;
  CLI::App app("Which way from a file in the page cache to a page behind a pointer is the fastest?");
  app.add_option("--mib", mib, "size of the file")->check(CLI::Range(2, 1 << 20))->capture_default_str();
  app.add_option("--repetitions", repetitions)->check(CLI::PositiveNumber)->capture_default_str();
  userfault::bench::parse_or_exit(app, argc, argv);
  const std::size_t bytes = (mib << 20) / kHuge * kHuge;
  Fixture fixture(make_file("/tmp/userfault_fill_ways." + std::to_string(::getpid()), bytes), bytes);
  std::vector<std::vector<double>> times(std::size(kWays));
  for (int i = -1; i < repetitions; ++i)
    for (std::size_t k = 0; k < std::size(kWays); ++k)
      if (const double ns = measure(fixture, kWays[k]); i >= 0) times[k].push_back(ns);
  std::printf("%zu MiB, filled and read once; medians of %d\n| way | | ratio |\n|---|---:|---:|\n", mib, repetitions);
  const double first = median(times[0]);
  for (std::size_t k = 0; k < std::size(kWays); ++k) {
    const double ns = median(times[k]);
    std::printf("| %s | %.0f MiB/s | %.2f |\n", kWays[k].name, static_cast<double>(bytes) / (1 << 20) * 1e9 / ns,
                first / ns);
  }
  return 0;
}

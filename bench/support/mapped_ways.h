// SPDX-License-Identifier: Apache-2.0
// The ways of having a file behind a pointer that the pager is measured against, and the pager.
// Each constructor prepares; finish() makes what was written durable; both end the process on error.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "userfault/pager.h"
#ifdef USERFAULT_BENCH_UMAP
#include <umap/umap.h>
#endif

namespace userfault::bench {

struct MappedSetting {
  std::string file;
  std::size_t bytes = 0;
  bool writable = false;
  std::size_t page_size = 4096;  // not of mmap
  std::size_t around = 1;        // of the pager: MapOptions::around
  std::uint64_t budget = 0;      // of the pager and UMap; mmap's is its group's
  unsigned threads = 1;
  unsigned prefetchers = 4;  // of the pager
  EngineKind engine = EngineKind::kKernel;
  bool direct = false;  // the pager reads past the page cache
  bool mapped = false;  // the pager may map the file; then it does not
  FileAccess access = FileAccess::kAutomatic;
};

[[noreturn]] inline void die_of(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::_Exit(1);
}

class MmapWay {
 public:
  explicit MmapWay(const MappedSetting& setting) : bytes_(setting.bytes) {
    const int fd = ::open(setting.file.c_str(), (setting.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    const int protection = setting.writable ? PROT_READ | PROT_WRITE : PROT_READ;
    data_ = ::mmap(nullptr, bytes_, protection, MAP_SHARED, fd, 0);
    if (fd < 0 || data_ == MAP_FAILED) die_of("mmap: " + std::string(std::strerror(errno)));
    ::close(fd);
  }
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  void finish() const {
    if (::msync(data_, bytes_, MS_SYNC) != 0) die_of("msync");
  }

 private:
  std::size_t bytes_;
  void* data_;
};

class PagerWay {
 public:
  explicit PagerWay(const MappedSetting& setting) : writable_(setting.writable) {
    auto pager = Pager::create({.engine = setting.engine,
                                .workers = std::min(setting.threads, 4u),
                                .prefetchers = setting.prefetchers,
                                .budget = setting.budget});
    if (!pager) die_of(pager.error().message());
    auto store = open_file_store(setting.file, {.writable = setting.writable,
                                                .direct = setting.direct && !setting.mapped,
                                                .mapped = setting.mapped,
                                                .access = setting.access});
    if (!store) die_of(store.error().text);
    auto mapping =
        pager->map(*store, {.page_size = setting.page_size, .around = setting.around, .writable = setting.writable});
    if (!mapping) die_of(mapping.error().message());
    pager_.emplace(std::move(*pager));
    mapping_.emplace(std::move(*mapping));
  }
  [[nodiscard]] std::byte* data() const { return mapping_->data(); }
  void finish() const {
    if (!writable_) return;
    if (const auto flushed = mapping_->flush(); !flushed) die_of(flushed.error().message());
  }

 private:
  bool writable_;
  std::optional<Pager> pager_;
  std::optional<Mapping> mapping_;
};

#ifdef USERFAULT_BENCH_UMAP
inline constexpr bool kWithUmap = true;
class UmapWay {
 public:
  explicit UmapWay(const MappedSetting& setting) : bytes_(setting.bytes) {
    // It reads its settings from the environment when the first region is made.
    ::setenv("UMAP_PAGESIZE", std::to_string(setting.page_size).c_str(), 1);
    const std::size_t pages = (setting.budget != 0 ? setting.budget : setting.bytes) / setting.page_size;
    ::setenv("UMAP_BUFSIZE", std::to_string(setting.budget != 0 ? pages : pages + 8).c_str(), 1);
    // Where everything fits nothing has to go.
    if (setting.budget == 0) ::setenv("UMAP_EVICT_HIGH_WATER_THRESHOLD", "100", 1);
    ::setenv("UMAP_PAGE_FILLERS", std::to_string(std::clamp(setting.threads, 2u, 4u)).c_str(), 1);
    const int direct = setting.direct ? O_DIRECT : 0;
    fd_ = ::open(setting.file.c_str(), (setting.writable ? O_RDWR : O_RDONLY) | direct | O_CLOEXEC);
    const int protection = setting.writable ? PROT_READ | PROT_WRITE : PROT_READ;
    data_ = ::umap(nullptr, bytes_, protection, UMAP_PRIVATE, fd_, 0);
    if (fd_ < 0 || data_ == UMAP_FAILED) die_of("umap failed");
  }
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  void finish() const {
    // Unmapping is how every version of it writes back.
    if (::uunmap(data_, bytes_) != 0 || ::fsync(fd_) != 0) die_of("uunmap");
  }

 private:
  std::size_t bytes_;
  int fd_ = -1;
  void* data_;
};
#else
inline constexpr bool kWithUmap = false;
using UmapWay = MmapWay;  // never made
#endif

}  // namespace userfault::bench

// SPDX-License-Identifier: Apache-2.0
// Store: where the pages of a mapping come from (and, where it is writable, go to).
//
// A store is asked for batches of extents and answers each of them exactly once, either before
// read() returns or later from a thread of its own: a file over a pool of pread(2) calls answers at
// once, one over io_uring when the ring says so. The pager treats both alike.
//
// Threads: every member may be called from any thread at any time, except the destructor, which
// may not race with anything; all requests have been answered by then.
// Errors: an answer carries a positive errno, and how many bytes from the start of the extent are
// good. Nothing here ever makes up bytes: a store that cannot tell says so, and the pager poisons.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "userfault/expected.h"
#include "userfault/export.h"

namespace userfault {

// Why a store could not be opened: what was tried and what to do, for a person.
struct StoreError {
  int code = 0;              // a positive errno; EINVAL for a file that is not what it should be
  std::uint64_t offset = 0;  // bytes into the file, where the trouble has a place
  std::string text;          // one sentence, without a newline
};

// One extent that is wanted, and the answer to it.
struct StoreRequest {
  std::uint64_t offset = 0;   // bytes from the start of the store
  std::byte* data = nullptr;  // where the bytes go (read) or come from (write)
  std::size_t length = 0;     // bytes; offset + length is at most size()
  // False: answer EAGAIN, before the call returns, rather than make the caller wait for a device.
  // A store that does not know answers EAGAIN; one that answers later need not.
  bool may_wait = true;

  int code = 0;           // out: 0 when all `length` bytes are good, else a positive errno.
                          // ENODATA: the store has become shorter than it was
  std::size_t bytes = 0;  // out: how many are good from the start

  // Called once, by any thread, when the answer is in. The request may be gone when it returns.
  void (*done)(StoreRequest& request) = nullptr;
  void* context = nullptr;  // the caller's

  void answer(int error, std::size_t good) {
    code = error;
    bytes = good;
    done(*this);
  }
};

// What is known of a part without reading it.
struct StoreExtent {
  bool zero = false;         // all bytes are zero
  std::uint64_t length = 0;  // how far that holds, in bytes, at least 1
};

// Where in a file a part of a store stands.
struct StoreFile {
  int fd = -1;               // readable as long as the store lives; -1: in none that may be mapped
  std::uint64_t offset = 0;  // of the part's first byte, in bytes
};

// A store of your own derives from it. All of it is inline: the library is built without RTTI, and
// a program that has it needs the type information from somewhere.
class USERFAULT_EXPORT Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  // Bytes. It never changes; a source that shrinks answers ENODATA for what is gone.
  [[nodiscard]] virtual std::uint64_t size() const = 0;

  // Reads the extents. Each request is answered exactly once.
  virtual void read(std::span<StoreRequest> batch) = 0;

  // Writes the extents. Each request is answered exactly once; what was written before an error is
  // in `bytes`. The default answers EROFS.
  virtual void write(std::span<StoreRequest> batch) {
    for (StoreRequest& request : batch) request.answer(EROFS, 0);
  }
  // Returns when all answered writes would survive a crash of the machine: 0 or a positive errno.
  [[nodiscard]] virtual int flush() { return 0; }
  [[nodiscard]] virtual bool writable() const { return false; }

  // What [offset, offset + length) begins with. The default knows nothing of zeroes.
  [[nodiscard]] virtual StoreExtent extent(std::uint64_t offset, std::uint64_t length) const {
    (void)offset;
    return {false, length};
  }

  // The bytes themselves where they stay in memory for the life of the store, and nothing but
  // write() changes them; else nullptr. Saves the pager one copy.
  [[nodiscard]] virtual const std::byte* view(std::uint64_t offset, std::size_t length) const {
    (void)offset, (void)length;
    return nullptr;
  }

  // The file whose own pages may be shown in the place of [offset, offset + length), instead of copies
  // of them; only where whoever made the store takes what that means (FileStoreOptions::mapped).
  [[nodiscard]] virtual StoreFile file(std::uint64_t offset, std::uint64_t length) const {
    (void)offset, (void)length;
    return {};
  }

  // For a person: what it is, and how it is read.
  [[nodiscard]] virtual std::string description() const { return "a store"; }
};

template <typename T>
using StoreResult = Expected<T, StoreError>;

// How a file store reads what the page cache does not have, and writes.
enum class FileAccess : std::uint8_t {
  kAutomatic,  // what was measured to be the fastest: kCalls (docs/performance.md)
  kCalls,      // pread(2) and pwrite(2) in the thread that asks
  kPool,       // the same in threads of the store's own
  kRing,       // io_uring; kPool where the kernel refuses it or the library was built without it
};

struct FileStoreOptions {
  std::uint64_t offset = 0;           // where the store begins in the file
  std::uint64_t length = UINT64_MAX;  // at most to the end of the file
  std::uint64_t zero_tail = 0;        // so many zero bytes follow the file's
  bool writable = false;              // write() is wanted; not together with zero_tail
  bool direct = false;                // O_DIRECT, past the page cache, for what is aligned to 4096 bytes
  // The pager may map the file itself for a thread that walks through it, which copies nothing: as fast
  // as mmap(2), and with no more than mmap(2) promises. What is written to the file shows; behind the
  // new end of a file that was truncated the page reads as zeroes, and the pages after it are SIGBUS, as
  // are those that the disk cannot give (they stand in Pager::errors() where they were met while fetching
  // ahead). Such pages are the page cache's: no budget counts them, and pin() does not hold them. For a
  // file that nobody changes meanwhile. Not together with writable, direct or an offset inside a page.
  bool mapped = false;
  FileAccess access = FileAccess::kAutomatic;
  unsigned threads = 4;  // of kPool
};

// A part of a regular file. The file may be replaced or shrink while it is read: what is then
// missing is an error at that place, never zeroes (but see `mapped`), and writing there is the same
// error. flush() is fdatasync(2). ENOENT, EACCES …: as open(2). EINVAL: not a regular file, offset and
// length do not lie inside it, options that exclude each other, or the file system has no O_DIRECT.
[[nodiscard]] USERFAULT_EXPORT StoreResult<std::shared_ptr<Store>> open_file_store(
    const std::string& path, const FileStoreOptions& options = {});

// Bytes that the caller keeps alive and unchanged. Reading never fails.
[[nodiscard]] USERFAULT_EXPORT std::shared_ptr<Store> make_memory_store(std::span<const std::byte> bytes);
// The same, and write() changes them.
[[nodiscard]] USERFAULT_EXPORT std::shared_ptr<Store> make_writable_memory_store(std::span<std::byte> bytes);

// Zeroes.
[[nodiscard]] USERFAULT_EXPORT std::shared_ptr<Store> make_zero_store(std::uint64_t size);

// A function of the caller's: fills `into` from `offset` and returns 0 or a positive errno. It may
// take long, and runs in several threads at once; it may not touch memory of the pager's mappings.
using StoreFunction = int (*)(void* context, std::uint64_t offset, std::span<std::byte> into);
[[nodiscard]] USERFAULT_EXPORT std::shared_ptr<Store> make_function_store(std::uint64_t size, StoreFunction function,
                                                                          void* context);

// The same with functions that write, too. Without `write` the store is read-only; without `flush`
// what was written needs none.
struct StoreFunctions {
  StoreFunction read = nullptr;
  int (*write)(void* context, std::uint64_t offset, std::span<const std::byte> from) = nullptr;
  int (*flush)(void* context) = nullptr;
  void* context = nullptr;
};
[[nodiscard]] USERFAULT_EXPORT std::shared_ptr<Store> make_function_store(std::uint64_t size,
                                                                          const StoreFunctions& functions);

// The part [offset, offset + length) of another store, followed by zeroes; with such zeroes it is
// read-only. EINVAL: it does not lie inside.
[[nodiscard]] USERFAULT_EXPORT StoreResult<std::shared_ptr<Store>> make_part_store(std::shared_ptr<Store> whole,
                                                                                   std::uint64_t offset,
                                                                                   std::uint64_t length,
                                                                                   std::uint64_t zero_tail = 0);

enum class StoreKind : std::uint8_t { kFile, kPacked, kCore, kZero };

// What a name says. A path without a scheme is looked at: kPacked where it ends like a packed image
// (packed_image.h), kCore where it begins like an ELF file, else kFile.
struct StoreName {
  StoreKind kind = StoreKind::kFile;
  std::string path{};      // empty for kZero
  std::uint64_t size = 0;  // of kZero
  bool detected = false;   // the name had no scheme
};

// file:PATH, zstd:PATH, core:PATH (packed or not), zero:SIZE (bytes, or with k, m, g, t for powers of 1024), or a
// path. EINVAL: not a size. Nothing is wrong with a path that cannot be opened until it is.
[[nodiscard]] USERFAULT_EXPORT StoreResult<StoreName> parse_store_name(const std::string& name);

struct StoreOptions {
  bool writable = false;  // EROFS for what cannot be written: packed images, cores, zeroes
  bool direct = false;    // as in FileStoreOptions, for files
  bool mapped = false;    // the same, and for cores; EINVAL for what is not read as it is in its file
  FileAccess access = FileAccess::kAutomatic;
};

// The store of such a name. One of a core has the memory of all its segments, in the order of their
// addresses, one after the other; ElfCore has them one by one.
[[nodiscard]] USERFAULT_EXPORT StoreResult<std::shared_ptr<Store>> open_store(const std::string& name,
                                                                              const StoreOptions& options = {});

// Reads and waits for the answer: 0, or a positive errno and in `*good`, where that is not nullptr,
// how many bytes are good from the start. ERANGE: not inside the store.
[[nodiscard]] USERFAULT_EXPORT int read_store(Store& store, std::uint64_t offset, std::span<std::byte> into,
                                              std::size_t* good = nullptr);
[[nodiscard]] USERFAULT_EXPORT int write_store(Store& store, std::uint64_t offset, std::span<const std::byte> from,
                                               std::size_t* good = nullptr);

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Pager: a pointer behind which pages come from a Store, when they are touched.
//
//   auto pager = userfault::Pager::create();
//   auto store = userfault::open_file_store("image");
//   auto mapping = pager->map(*store);
//   use(mapping->data(), mapping->size());       // any thread; pages appear when they are touched
//
// A page that the store cannot give is poisoned: whoever touches it gets SIGBUS, never zeroes.
//
// Ownership: a Mapping owns its memory and unmaps it on destruction; it keeps what it needs of the
// pager and of its store alive. A child after fork(2) does not have the memory (it would read
// zeroes there): touching it is SIGSEGV. mremap(2) of the memory is not supported; madvise(2) with
// MADV_DONTNEED is, and brings pages back from the store.
// Threads: every member of a Pager or Mapping from any thread, except moving and destroying.
// Do not touch a mapping's memory from a signal handler that may run in one of the store's own
// threads, nor from inside a store.
// docs/pager.md has the design: page states, who owns which transition, what races are handled.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "userfault/descriptor.h"
#include "userfault/error.h"
#include "userfault/export.h"
#include "userfault/histogram.h"
#include "userfault/store.h"

namespace userfault {

namespace pager {
class Core;
class Region;
}  // namespace pager

struct PagerOptions {
  EngineKind engine = EngineKind::kAutomatic;
  unsigned workers = 1;                         // threads that answer faults, at least 1
  unsigned prefetchers = 1;                     // threads that fill ahead of faults; 0: nothing is fetched ahead
  int store_attempts = 3;                       // tries before a page that the store cannot give is poisoned
  std::chrono::microseconds store_pause{1000};  // before the second try; doubles from there
};

struct MapOptions {
  void* address = nullptr;     // where, exactly (EEXIST when something is there); nullptr: anywhere
  std::size_t page_size = 0;   // bytes, a power of two from the system's up to 2 MiB; 0: the system's
  bool huge = false;           // back it with 2 MiB hugetlb pages; page_size must be 2 MiB
  std::size_t around = 1;      // pages filled with the one that was touched, aligned; a power of two
  bool detect_streams = true;  // fill ever more ahead of a thread that walks upwards
};

// Counters since the start. They only grow, but for `resident`.
struct Statistics {
  std::uint64_t faults = 0;             // messages read
  std::uint64_t repeated = 0;           // of these: the page was there or on its way by then
  std::uint64_t pages_by_fault = 0;     // pager pages filled because of a fault, its neighbours too
  std::uint64_t pages_by_prefetch = 0;  // filled before a thread asked
  std::uint64_t zero_pages = 0;         // of all these: filled with the zero page
  std::uint64_t bytes_by_fault = 0;
  std::uint64_t bytes_by_prefetch = 0;
  std::uint64_t bytes_read = 0;  // from stores
  std::uint64_t pages_poisoned = 0;
  std::uint64_t store_errors = 0;  // answers with an error, retried ones too
  std::uint64_t resident_bytes = 0;
  LatencyHistogram service;  // from reading a fault's message to the page being there
};

// A page that the store could not give.
struct PageError {
  std::uintptr_t address = 0;
  std::uint64_t offset = 0;  // in the store
  int code = 0;              // what the store said: a positive errno
};

class USERFAULT_EXPORT Mapping {
 public:
  Mapping(Mapping&&) noexcept;
  Mapping& operator=(Mapping&&) noexcept;
  ~Mapping();

  [[nodiscard]] std::byte* data() const noexcept;
  // The store's size in bytes; what follows up to the end of the last page reads as zero.
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::size_t page_size() const noexcept;
  // Whether the page at `offset` bytes is there, or was a moment ago. Costs a load.
  [[nodiscard]] bool resident(std::size_t offset) const noexcept;

  // Asks for pages ahead of their use, and returns at once. Faults go first.
  void prefetch(std::size_t offset, std::size_t length) const;
  // Returns when nothing asked for with prefetch() is left to be filled.
  void wait_for_prefetch() const;

 private:
  friend class Pager;
  Mapping(std::shared_ptr<pager::Core> core, std::shared_ptr<pager::Region> region) noexcept;
  void close() noexcept;
  std::shared_ptr<pager::Core> core_;
  std::shared_ptr<pager::Region> region_;
};

class USERFAULT_EXPORT Pager {
 public:
  // Opens a descriptor and starts the threads. Errors: as Descriptor::open; EAGAIN: no thread.
  [[nodiscard]] static Result<Pager> create(const PagerOptions& options = {});
  Pager(Pager&&) noexcept;
  Pager& operator=(Pager&&) noexcept;
  ~Pager();

  // Errors: EINVAL: an empty store or bad options. EEXIST: the address is taken. ENOMEM: no
  // address space, too many mappings, or no free huge pages.
  [[nodiscard]] Result<Mapping> map(std::shared_ptr<Store> store, const MapOptions& options = {}) const;

  [[nodiscard]] EngineKind engine() const noexcept;
  [[nodiscard]] Statistics statistics() const;
  // The pages that were poisoned, the first 1024 of them.
  [[nodiscard]] std::vector<PageError> errors() const;

 private:
  explicit Pager(std::shared_ptr<pager::Core> core) noexcept;
  std::shared_ptr<pager::Core> core_;
};

}  // namespace userfault

// SPDX-License-Identifier: Apache-2.0
// Pager: a pointer behind which pages come from a Store, when they are touched.
//
//   auto pager = userfault::Pager::create();
//   auto store = userfault::open_file_store("image");
//   auto mapping = pager->map(*store);
//   use(mapping->data(), mapping->size());       // any thread; pages appear when they are touched
//
// With PagerOptions::budget all mappings of a pager together never take more memory than that:
// pages are evicted and come back from their store. With MapOptions::writable what the program
// writes goes to the store, at eviction, in the background, and at the latest at flush() or close().
//
// A page that the store cannot give is poisoned: whoever touches it gets SIGBUS, never zeroes. A
// page that the store does not take stays in memory until it does.
//
// Ownership: a Mapping owns its memory and unmaps it on destruction; it keeps what it needs of the
// pager and of its store alive. A child after fork(2) does not have the memory (it would read
// zeroes there): touching it is SIGSEGV. Nor does it have the pager's threads: there its Pager and Mapping may be
// destroyed or closed, which closes the child's descriptors, writes nothing, keeps what else there is (the stores, too)
// until the child ends, and never waits; map(), flush(), pin() and unpin() fail with ESRCH, prefetching does nothing,
// and nothing is counted. mremap(2), munmap(2) and mmap(2) over a part of the memory are
// not supported: the Mapping unmaps all of its range when it ends. madvise(2) with MADV_DONTNEED
// never loses what was written: the page comes back as it was. MADV_REMOVE does lose it: the page
// comes back from the store as it was last written there.
// System calls may read and write the memory. A device that goes on after the call returned
// (io_uring, O_DIRECT with AIO) needs the pages pinned with pin() meanwhile.
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

// Which page goes when memory is needed. bench/eviction_bench.cc compares them.
enum class Eviction : std::uint8_t {
  kClock,   // the one that was filled first, unless it was touched since it was last looked at
  kFifo,    // the one that was filled first: LRU as far as faults tell
  kRandom,  // any
};

// How a page is found to have been written. bench/write_tracking_bench.cc compares them.
enum class WriteTracking : std::uint8_t {
  kFaults,  // its first write is a fault: what is dirty is known at once
  kScan,    // the kernel takes note (UFFD_FEATURE_WP_ASYNC with PAGEMAP_SCAN, Linux 6.7; the user engine): a
            // write costs nothing, and what is dirty is found out when pages are evicted or flushed, and
            // counts in Statistics and for write_back_at from then on. kFaults where it is not to be had
};

struct PagerOptions {
  EngineKind engine = EngineKind::kAutomatic;
  unsigned workers = 1;  // threads that answer faults, at least 1
  // While all of them wait, for a store that is slow or for memory, others are started, up to so many in all, and
  // stay: so many pages can be slow before one more fault waits for the first of them. `workers` where that is more;
  // where it is 1, the one worker waits. A thread that cannot be started is done without.
  unsigned most_workers = 16;
  unsigned prefetchers = 4;                     // threads that fill ahead of faults; 0: nothing is fetched ahead
  int store_attempts = 3;                       // tries before a page that the store cannot give is poisoned
  std::chrono::microseconds store_pause{1000};  // before the second try; doubles from there

  // The most bytes of memory that all mappings together take; 0: no limit. At least four pages of
  // each mapping, which is what one instruction may need at once. The pager's buffers come on top.
  std::uint64_t budget = 0;
  Eviction eviction = Eviction::kClock;
  WriteTracking write_tracking = WriteTracking::kFaults;
  unsigned evictors = 1;  // threads that make room and write back ahead of need; at least 1 is started
  // From so many bytes on that are written and not yet in their store they are written back in the
  // background, until half are left. 0: a quarter of the budget, and never where there is none.
  std::uint64_t write_back_at = 0;
  // How long a fault waits for memory when nothing can be evicted (all is pinned, or the stores
  // take no writes) before its page is poisoned; 0: for ever.
  std::chrono::milliseconds memory_wait{30000};
  std::size_t prefetch_queue = 4096;  // ranges that may wait to be fetched ahead; what does not fit is dropped
  unsigned fills_in_flight = 16;      // that a store may have beside one for each thread; a buffer of 2 MiB each
};

struct MapOptions {
  void* address = nullptr;     // where, exactly (EEXIST when something is there); nullptr: anywhere
  std::size_t page_size = 0;   // bytes, a power of two from the system's up to 2 MiB; 0: the system's
  bool huge = false;           // back it with 2 MiB hugetlb pages; page_size must be 2 MiB
  std::size_t around = 1;      // pages filled with the one that was touched, aligned; a power of two
  bool detect_streams = true;  // fill ever more ahead of a thread that walks through it, in even steps
  bool writable = false;       // what is written goes to the store; EROFS when that is not Store::writable()
};

// Counters since the start. They only grow, but for `resident_bytes` and `dirty_bytes`.
struct Statistics {
  std::uint64_t faults = 0;             // messages read
  std::uint64_t repeated = 0;           // of these: the page was there or on its way by then
  std::uint64_t pages_by_fault = 0;     // pager pages filled because of a fault, its neighbours too
  std::uint64_t pages_by_prefetch = 0;  // filled before a thread asked
  std::uint64_t zero_pages = 0;         // of all these: filled with the zero page
  std::uint64_t mapped_pages = 0;       // of all these: shown as they are in the store's file, without a copy
  std::uint64_t bytes_by_fault = 0;
  std::uint64_t bytes_by_prefetch = 0;
  std::uint64_t bytes_read = 0;  // from stores
  std::uint64_t pages_poisoned = 0;
  std::uint64_t store_errors = 0;  // answers with an error, retried ones too
  std::uint64_t resident_bytes = 0;
  std::uint64_t prefetch_hits = 0;     // pages fetched ahead of a walk that then came by
  std::uint64_t prefetch_dropped = 0;  // ranges not fetched ahead: the queue was full, or memory
  std::uint64_t evictions = 0;         // pager pages that were dropped to make room
  std::uint64_t revived = 0;           // pages touched again just before they would have been
  std::uint64_t write_faults = 0;      // of the faults: the first write to a page that was there
  std::uint64_t bytes_written = 0;     // to stores
  std::uint64_t write_errors = 0;      // writes that a store refused, retried ones too
  std::uint64_t dirty_bytes = 0;       // written by the program, and not yet to the store
  std::uint64_t memory_waits = 0;      // faults that found no memory and nothing to evict at once
  LatencyHistogram service;            // from reading a fault's message to the page being there
};

// A page that the store could not give, or did not take.
struct PageError {
  std::uintptr_t address = 0;
  std::uint64_t offset = 0;  // in the store
  int code = 0;              // what the store said: a positive errno. ENOMEM: no memory came free in time
  bool write = false;        // it did not take it. The page is still in memory, and tried again
};

struct MappedRange {
  std::size_t offset = 0;  // bytes from the start of the mapping
  std::size_t length = 0;
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

  // Asks for pages ahead of their use, and returns at once. Faults go first. One call fetches no
  // more than the budget holds.
  void prefetch(std::size_t offset, std::size_t length) const;
  void prefetch(std::span<const MappedRange> ranges) const;
  // Returns when nothing asked for with prefetch() is left to be filled.
  void wait_for_prefetch() const;

  // Fills the pages of a range and keeps them in memory until as many unpin() calls for the same
  // range. Errors: EINVAL: not inside the mapping; ENOMEM: too much of the budget is pinned (four of the
  // largest pages stay free), or none of it came free in PagerOptions::memory_wait; EIO: the store
  // cannot give a page. unpin(): EINVAL: the range was not pinned.
  [[nodiscard]] Result<void> pin(std::size_t offset, std::size_t length) const;
  [[nodiscard]] Result<void> unpin(std::size_t offset, std::size_t length) const;

  // Writes every page that was written before the call to the store, and then has the store make
  // it durable (Store::flush): on success all that was written before the call survives a crash of
  // the machine as far as the store promises. What is written meanwhile may or may not be included,
  // but no page is written half: each is as it was at one moment. On failure, operation kStore with
  // the store's errno and the pages' range, these pages are still in memory, count as not written,
  // and are tried again later; the others are written. When it is the making durable that failed, the
  // store's errno with the whole range, also in Pager::errors(), the pages count as written: what is lost
  // nobody can tell, and a file says the same ever after (fsync(2)). Nothing to do without
  // MapOptions::writable.
  [[nodiscard]] Result<void> flush() const;

  // flush(), and then gives the memory back; the Mapping is empty after success. On failure all is
  // as before. The destructor does the same, but cannot keep what the store does not take: such
  // pages are lost and stand in Pager::errors().
  [[nodiscard]] Result<void> close();

  [[nodiscard]] Statistics statistics() const;

 private:
  friend class Pager;
  Mapping(std::shared_ptr<pager::Core> core, std::shared_ptr<pager::Region> region) noexcept;
  void release() noexcept;
  void abandon_in_copy() noexcept;
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

  // Errors: EINVAL: an empty store, bad options, or a budget of fewer than four pages. EEXIST: the
  // address is taken. EROFS: writable, and the store is not. ENOMEM: no address space, too many
  // mappings, no free huge pages, or all but four such pages of the budget are pinned. ENOTSUP: the
  // engine cannot write-protect or unmap pages of shared memory (a kernel before 5.19), which a budget
  // and writable need.
  [[nodiscard]] Result<Mapping> map(std::shared_ptr<Store> store, const MapOptions& options = {}) const;

  [[nodiscard]] EngineKind engine() const noexcept;
  [[nodiscard]] WriteTracking write_tracking() const noexcept;  // the one that is used
  [[nodiscard]] Statistics statistics() const;
  // The pages that were poisoned or could not be written, the first 1024 of them, each once.
  [[nodiscard]] std::vector<PageError> errors() const;

 private:
  explicit Pager(std::shared_ptr<pager::Core> core) noexcept;
  void release() noexcept;
  std::shared_ptr<pager::Core> core_;
};

}  // namespace userfault

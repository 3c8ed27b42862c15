// SPDX-License-Identifier: Apache-2.0
#include "engine/user/fault/kernel_in_thread.h"

#include <sys/mman.h>

#include <atomic>
#include <bit>
#include <cstddef>

#include "engine/user/proc/pagemap.h"
#include "engine/user/rt/check.h"
#include "engine/user/rt/lock.h"
#include "engine/user/rt/seqlock.h"
#include "engine/user/rt/syscall.h"
#include "engine/user/signal/machine_context.h"

namespace userfault::engine::user {
namespace {

// The count is the block's own, so that a reader never leaves a block that was replaced by a larger
// one. Replaced blocks stay mapped: blocks double, so all of them are smaller than the last.
struct Block {
  std::atomic<std::uint64_t> count;
  std::uint64_t capacity;
  SharedWords<ServedRange> entries[1];
};

std::uintptr_t start_of(const SharedWords<ServedRange>& entry) noexcept { return entry.word(0); }

constinit SequenceCount changes;
constinit std::atomic<std::uint32_t> registrations{0};  // under way
constinit std::atomic<Block*> table{nullptr};
// Set with the first table and the same ever after.
constinit std::atomic<std::size_t> base_page{0};
constinit std::atomic<int (*)(const ServedRange&, const userfault_msg*)> invoke{nullptr};

Block* new_block(std::size_t capacity) noexcept {
  const std::size_t bytes = sizeof(Block) + capacity * sizeof(SharedWords<ServedRange>);
  const long mapped = sys::mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped < 0) return nullptr;
  auto* block = reinterpret_cast<Block*>(mapped);
  block->capacity = capacity;
  return block;
}

// The last entry that starts at or before `address`.
ServedRange entry_before(const Block& block, std::uintptr_t address) noexcept {
  std::size_t low = 0;
  std::size_t high = block.count.load(std::memory_order_relaxed);
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (start_of(block.entries[middle]) <= address) low = middle + 1;
    else high = middle;
  }
  return low > 0 ? block.entries[low - 1].load() : ServedRange{};
}

ServedRange find(std::uintptr_t address) noexcept {
  for (;;) {
    const std::uint32_t count = changes.begin_reading();
    const Block* block = table.load(std::memory_order_relaxed);
    const ServedRange found = block != nullptr ? entry_before(*block, address) : ServedRange{};
    if (!changes.has_changed(count)) return address - found.start < found.end - found.start ? found : ServedRange{};
  }
}

// A page that UFFDIO_POISON marked raises the same SIGBUS where the kernel has no memory-failure
// support (real-kernel row 18), and UFFDIO_COPY would write over the mark. The pagemap shows it as
// swapped without a write-protect mark; a page that really is swapped out does not
// fault as missing. What cannot be told is taken for poison.
bool is_poisoned(std::uintptr_t address) noexcept {
  const Pagemap pagemap;
  std::uint64_t entry;
  if (pagemap.read(address, &entry, 1, base_page.load()) != 1) return true;
  return (entry & (kEntrySwapped | kEntryWriteProtected)) == kEntrySwapped;
}

// With both modes, a fault is a minor one when the page cache has the page: mincore(2) says so.
bool is_minor(const ServedRange& range, std::uintptr_t page) noexcept {
  if ((range.modes & USERFAULT_REGISTER_MODE_MINOR) == 0) return false;
  if ((range.modes & USERFAULT_REGISTER_MODE_MISSING) == 0) return true;
  unsigned char resident = 0;
  return sys::mincore(page, base_page.load(), &resident) == 0 && (resident & 1) != 0;
}

// The message that a reader would have got.
userfault_msg message_of(const ServedRange& range, std::uintptr_t address, const ucontext_t* machine) noexcept {
  const std::uintptr_t page = address & ~(range.page_size - 1);
  const bool write = was_write(machine);
  const bool protect = write && (range.modes & USERFAULT_REGISTER_MODE_WP) != 0 && was_protection(machine);
  userfault_msg message{};
  message.event = USERFAULT_EVENT_PAGEFAULT;
  message.arg.pagefault.address = (range.features & USERFAULT_FEATURE_EXACT_ADDRESS) != 0 ? address : page;
  message.arg.pagefault.flags = (write ? USERFAULT_PAGEFAULT_FLAG_WRITE : 0) |
                                (protect ? USERFAULT_PAGEFAULT_FLAG_WP : 0) |
                                (!protect && is_minor(range, page) ? USERFAULT_PAGEFAULT_FLAG_MINOR : 0);
  if ((range.features & USERFAULT_FEATURE_THREAD_ID) != 0)
    message.arg.pagefault.feat.ptid = static_cast<std::uint32_t>(sys::gettid());
  return message;
}

}  // namespace

bool publish_served(const ServedTable& fresh) noexcept {
  USERFAULT_INVARIANT(fresh.base_page != 0 && fresh.invoke != nullptr, "a table was published that cannot be used");
  for (std::size_t i = 0; i < fresh.count; ++i) {
    USERFAULT_INVARIANT(fresh.ranges[i].start < fresh.ranges[i].end, "a served range is empty");
    USERFAULT_INVARIANT(i == 0 || fresh.ranges[i - 1].end <= fresh.ranges[i].start,
                        "served ranges overlap or have no order");
  }
  Block* block = table.load(std::memory_order_relaxed);
  if (block == nullptr || block->capacity < fresh.count) {
    block = new_block(std::bit_ceil(fresh.count < 32 ? std::size_t{32} : fresh.count));
    if (block == nullptr) return false;
  }
  const SignalsBlocked blocked;
  base_page.store(fresh.base_page);
  invoke.store(fresh.invoke);
  changes.begin_change();
  for (std::size_t i = 0; i < fresh.count; ++i) block->entries[i].store(fresh.ranges[i]);
  USERFAULT_INVARIANT(fresh.count <= block->capacity, "a table has more ranges than there is room for");
  block->count.store(fresh.count, std::memory_order_relaxed);
  table.store(block, std::memory_order_relaxed);
  changes.end_change();
  return true;
}

RegistrationUnderWay::RegistrationUnderWay() noexcept { registrations.fetch_add(1); }
RegistrationUnderWay::~RegistrationUnderWay() {
  const std::uint32_t before = registrations.fetch_sub(1);
  USERFAULT_INVARIANT(before != 0, "a registration ended that never began");
}

namespace {

// Loads `registrations` before the table, or a registration that ends between the two loads would be missed.
ServedRange find_registered(std::uintptr_t address) noexcept {
  for (;;) {
    const bool may_come = registrations.load() != 0;
    const ServedRange range = find(address);
    if (range.function != nullptr || !may_come) return range;
    raw_syscall(SYS_sched_yield);
  }
}

}  // namespace

bool resolve_served(const siginfo_t* info, void* context) noexcept {
  if (info->si_code != BUS_ADRERR) return false;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const ServedRange range = find_registered(address);
  if (range.function == nullptr || range.process != sys::getpid()) return false;
  if (range.may_be_poisoned != 0 && is_poisoned(address)) return false;
  const userfault_msg message = message_of(range, address, static_cast<const ucontext_t*>(context));
  return invoke.load()(range, &message) != 0;
}

}  // namespace userfault::engine::user

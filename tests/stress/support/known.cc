// SPDX-License-Identifier: Apache-2.0
#include "support/known.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <sstream>

namespace userfault::stress {
namespace {

// One mapping as /proc/self/smaps shows it.
struct Shown {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  std::string looks;  // permissions and flags, device and inode
};

std::vector<Shown> shown_mappings() {
  std::vector<Shown> result;
  std::ifstream file("/proc/self/smaps");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmFlags:")) {
      // Whether the memory is accounted for is nothing that an engine can see.
      if (const auto accounted = line.find(" ac"); accounted != std::string::npos) line.erase(accounted, 3);
      if (!result.empty()) result.back().looks += line;
      continue;
    }
    std::istringstream words(line);
    Shown shown;
    char dash = 0;
    std::string permissions;
    std::string offset;
    std::string device;
    std::string inode;
    words >> std::hex >> shown.start >> dash >> shown.end >> permissions >> offset >> device >> inode;
    if (!words || dash != '-') continue;
    shown.looks = permissions + device + inode;
    result.push_back(shown);
  }
  return result;
}

// REG-10: two registered neighbours of the same looks that the kernel keeps apart, because each has
// had pages of its own before (two anon_vma), or one was made inaccessible before it had any, and is
// not accounted for.
bool kept_apart(std::uintptr_t start, std::size_t length) {
  const std::vector<Shown> all = shown_mappings();
  for (std::size_t i = 1; i < all.size(); ++i) {
    const bool inside = all[i].start > start && all[i].start < start + length;
    if (inside && all[i - 1].end == all[i].start && all[i - 1].looks == all[i].looks) return true;
  }
  return false;
}

// What is mapped there now; an mmap of the sequence may have replaced what its arena began with.
bool is_shared(const World& world, const Operation& operation) {
  const std::uintptr_t address = world.address_of(operation.start);
  return std::ranges::any_of(shown_mappings(), [&](const Shown& shown) {
    return address - shown.start < shown.end - shown.start && shown.looks[3] == 's';
  });
}

// Something was registered for write protection.
bool protects(std::span<const Operation> done) {
  return std::ranges::any_of(done, [](const Operation& earlier) {
    return earlier.kind == Kind::kRegister && (earlier.mode & USERFAULT_REGISTER_MODE_WP) != 0;
  });
}

// A protection that outlived its mode and then the registration, of which the page table knows.
bool protection_outlived(const Arena& arena, std::span<const Operation> done, std::size_t page) {
  enum { kNever, kProtected, kWithoutMode, kReleased } stage = kNever;
  for (const Operation& earlier : done) {
    if (earlier.kind == Kind::kReopen && stage == kWithoutMode) stage = kReleased;
    if (page - earlier.start / arena.page >= earlier.length / arena.page) continue;
    const bool with_mode = (earlier.mode & USERFAULT_REGISTER_MODE_WP) != 0;
    if (earlier.kind == Kind::kRegister && with_mode && stage != kReleased) stage = kProtected;
    if (earlier.kind == Kind::kRegister && !with_mode && stage == kProtected) stage = kWithoutMode;
    if (earlier.kind == Kind::kUnregister && stage == kWithoutMode) stage = kReleased;
  }
  return stage == kReleased;
}

// And then it is one again.
bool is_protected_again(const Arena& arena, std::span<const Operation> done, const Outcome& kernel,
                        const Outcome& user) {
  const Operation& operation = done.back();
  return operation.kind == Kind::kWrite && user.messages.empty() && kernel.messages.size() == 1 &&
         (kernel.messages[0].flags & USERFAULT_PAGEFAULT_FLAG_WP) != 0 &&
         protection_outlived(arena, done, operation.start / arena.page);
}

// Whether an access that came to its end, and not to a signal, has brought the page.
bool was_touched(const Arena& arena, std::span<const Operation> done, std::span<const Outcome> outcomes,
                 std::size_t page) {
  constexpr std::size_t kNone = SIZE_MAX;
  std::array<std::size_t, 2> accessed = {kNone, kNone};  // by each thread
  bool touched = false;
  for (std::size_t i = 0; i < done.size(); ++i) {
    const std::size_t first = done[i].start / arena.page;
    if (done[i].kind == Kind::kMadvise && page - first < done[i].length / arena.page) touched = false;
    if (done[i].kind == Kind::kRead || done[i].kind == Kind::kWrite) accessed[done[i].thread] = first;
    for (std::size_t thread = 0; thread < accessed.size(); ++thread) {
      const AccessState& state = outcomes[i].accesses[thread];
      if (state.waits) continue;
      touched = touched || (accessed[thread] == page && state.signal == 0);
      accessed[thread] = kNone;
    }
  }
  return touched;
}

// CONT-02, POIS-02: which pages of an open mapping the page table holds. Either the object has the
// page and this mapping has not touched it, or it has, because the kernel maps the neighbours of a
// page that is read (fault-around); what was touched by name is no excuse.
bool depends_on_the_page_table(const World& world, std::span<const Operation> done, std::span<const Outcome> before,
                               const Outcome& kernel, const Outcome& user) {
  const Operation& operation = done.back();
  if (operation.kind != Kind::kContinue && operation.kind != Kind::kPoison) return false;
  if (kernel == user || !is_shared(world, operation)) return false;
  if (user.error == EEXIST || user.error == EAGAIN) return true;
  if (kernel.error != EEXIST && kernel.error != EAGAIN) return false;
  const Arena& arena = world.arena();
  const std::size_t page = operation.start / arena.page + (kernel.output > 0 ? kernel.output / arena.page : 0);
  return !was_touched(arena, done.first(done.size() - 1), before, page);
}

// What is there can be read without a monitor.
bool is_zero_page(std::uintptr_t address) {
  constexpr std::uintptr_t kPresent = 63;  // the bit of an entry of pagemap
  std::uint64_t entry = 0;
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const auto at = static_cast<off_t>(address / kPage * sizeof entry);
  const bool known = ::pread(pagemap, &entry, sizeof entry, at) == sizeof entry;
  ::close(pagemap);
  if (!known || (entry >> kPresent & 1) == 0) return false;
  const auto* words = reinterpret_cast<const std::uint64_t*>(address / kPage * kPage);
  return std::all_of(words, words + kWords, [](std::uint64_t word) { return word == 0; });
}

// UNREG-01: whom it wakes where the memory is no longer registered for missing faults.
bool wakes_more(const Operation& operation, const Outcome& kernel, const Outcome& user) {
  if (operation.kind != Kind::kUnregister || kernel.error != user.error) return false;
  for (std::size_t i = 0; i < kernel.accesses.size(); ++i)
    if (kernel.accesses[i].waits && !user.accesses[i].waits) return true;
  // Where the range could not be released it faults again.
  return kernel.error == EINVAL && user.messages.size() > kernel.messages.size();
}

// POIS-01: a child has the poison of shared memory, wherever mremap has put that.
bool poisons_child(std::span<const Operation> done, const Arena& arena, const Outcome& kernel, Outcome user) {
  if (done.back().kind != Kind::kFork || kernel.extra.size() != user.extra.size()) return false;
  const bool moved = std::ranges::any_of(done, [](const Operation& earlier) { return earlier.kind == Kind::kMremap; });
  for (std::size_t page = 0; page < user.extra.size(); ++page) {
    const bool shared = page >= arena.shared.first && page < arena.plain.first;
    if ((shared || moved) && user.extra[page] == kSigbusDigest) user.extra[page] = kernel.extra[page];
  }
  return kernel == user;
}

// MOVE-01: a page that a child had cannot be moved until it is written, also when the child is gone.
bool was_forked(std::span<const Operation> done, const Outcome& kernel) {
  if (done.back().kind != Kind::kMove || (kernel.error != EBUSY && kernel.error != EAGAIN)) return false;
  return std::ranges::any_of(done, [](const Operation& earlier) { return earlier.kind == Kind::kFork; });
}

// REAL-54: minor faults of what was registered before, and of what a read of a neighbour has mapped.
bool differs_in_minor(const Arena& arena, std::span<const Operation> done, const Outcome& kernel, const Outcome& user) {
  const Operation& operation = done.back();
  if (operation.kind != Kind::kRead && operation.kind != Kind::kWrite) return false;
  // With FEATURE_SIGBUS it is a signal.
  const auto has_minor = [&](const Outcome& outcome) {
    return outcome.accesses[operation.thread].signal == SIGBUS ||
           std::ranges::any_of(outcome.messages, [](const Message& message) {
             return (message.flags & USERFAULT_PAGEFAULT_FLAG_MINOR) != 0;
           });
  };
  const bool by_kernel = has_minor(kernel);
  if (by_kernel == has_minor(user)) return false;
  constexpr std::uintptr_t kFaultAround = 16;  // pages
  const auto covers = [&](const Operation& earlier) {
    return earlier.kind == Kind::kRegister && operation.start - earlier.start < earlier.length;
  };
  const auto for_minor = [](const Operation& earlier) { return (earlier.mode & USERFAULT_REGISTER_MODE_MINOR) != 0; };
  const auto maps_ahead = [&](const Operation& earlier) {
    const std::uintptr_t page = operation.start / arena.page;
    const std::uintptr_t read = earlier.start / arena.page;
    return earlier.kind == Kind::kRead && std::max(page, read) - std::min(page, read) < kFaultAround;
  };
  bool mapped_ahead = false;  // before it was registered for minor faults
  for (const Operation& earlier : done.first(done.size() - 1)) {
    if (by_kernel) {
      // The kernel's mapping ends where a registration does, and ours need not.
      if (covers(earlier) && (mapped_ahead || !for_minor(earlier))) return true;
      mapped_ahead =
          mapped_ahead || (maps_ahead(earlier) && earlier.start / arena.page != operation.start / arena.page);
    } else if (maps_ahead(earlier) || earlier.kind == Kind::kReopen || earlier.kind == Kind::kUnregister) {
      return true;
    }
  }
  return false;
}

// MOVE-01: whether the page table has a page for the source.
bool lacks_a_table(const Arena& arena, const Operation& operation, const Outcome& kernel, const Outcome& user) {
  return arena.page != kPage && operation.kind == Kind::kMove && kernel.error == ENOENT && user.error == EEXIST;
}

// FEAT-06: an unmapping that failed in the middle of a huge page has told of what lies before it.
bool failed_to_unmap(const Arena& arena, const Operation& operation, const Outcome& kernel, const Outcome& user) {
  return arena.page != kPage && (operation.kind == Kind::kMmap || operation.kind == Kind::kMunmap) &&
         kernel.error == EINVAL && user.error == EINVAL && user.messages.empty() &&
         std::ranges::all_of(kernel.messages,
                             [](const Message& message) { return message.event == USERFAULT_EVENT_UNMAP; });
}

// FEAT-01: of private memory in which nothing was written a child has no zero pages; and where it was only
// protected our child has none and the kernel's does.
bool lacks_zero_page(const World& world, std::span<const Operation> done, const Outcome& kernel, const Outcome& user) {
  const Operation& fork = done.back();
  if (fork.kind != Kind::kFork || is_shared(world, fork)) return false;
  if (kernel.error == 0 && user.error == EEXIST) return true;
  return kernel.error == EEXIST && user.error == 0 && is_zero_page(world.address_of(fork.start));
}

// REAL-05: a huge page whose protection outlived its mode: the kernel sends no message and spins, whoever
// releases what waits there.
bool spins_in_the_kernel(const Arena& arena, std::span<const Operation> done, const Outcome& kernel,
                         const Outcome& user) {
  if (arena.page == kPage || !kernel.messages.empty() || !user.messages.empty()) return false;
  const Operation& operation = done.back();
  bool spins = false;
  for (std::size_t thread = 0; thread < kernel.accesses.size(); ++thread) {
    const bool concerned = operation.kind != Kind::kWrite || operation.thread == thread;
    spins = spins || (concerned && kernel.accesses[thread].waits && !user.accesses[thread].waits);
  }
  return spins && protects(done);
}

// What a scan said of a page; 0 when nothing.
std::uint64_t told_of(const Outcome& outcome, std::uint64_t address) {
  for (std::size_t i = 1; i + 2 < outcome.extra.size(); i += 3)
    if (address >= outcome.extra[i] && address < outcome.extra[i + 1]) return outcome.extra[i + 2];
  return 0;
}

// REAL-38: what this mapping's page table has of the pages of a shared object.
bool shows_other_pages(const World& world, std::span<const Operation> done, std::span<const Outcome> before,
                       const Outcome& kernel, const Outcome& user) {
  const Operation& scan = done.back();
  if (scan.kind != Kind::kScan || kernel.error != user.error) return false;
  const Arena& arena = world.arena();
  const bool released = std::ranges::any_of(done, [](const Operation& earlier) {
    return earlier.kind == Kind::kReopen || earlier.kind == Kind::kUnregister;
  });
  for (std::uint64_t at = scan.start; at < scan.start + scan.length; at += arena.page) {
    const std::uint64_t by_kernel = told_of(kernel, at);
    const std::uint64_t by_user = told_of(user, at);
    if (by_kernel == by_user) continue;
    if (protection_outlived(arena, done, at / arena.page)) return true;
    if (!is_shared(world, scan)) return false;
    const bool differs = ((by_kernel ^ by_user) & USERFAULT_PAGE_IS_PRESENT) != 0;
    const bool of_object = by_kernel == 0 && !was_touched(arena, done.first(done.size() - 1), before, at / arena.page);
    return differs || (released && by_user == 0) || of_object;
  }
  return false;
}

}  // namespace

bool is_known(const World& world, std::span<const Operation> done, std::span<const Outcome> before,
              const Outcome& kernel, const Outcome& user) {
  const Operation& operation = done.back();
  // REAL-42: how much a refused move has moved. REAL-24: moving what was registered with a neighbour.
  if (operation.kind == Kind::kMremap && (user.error == EFAULT || (kernel.error == EFAULT && user.error == EINVAL)))
    return true;
  if (wakes_more(operation, kernel, user) || depends_on_the_page_table(world, done, before, kernel, user)) return true;
  if (kernel == user) return false;
  if (poisons_child(done, world.arena(), kernel, user) || was_forked(done, kernel) ||
      failed_to_unmap(world.arena(), operation, kernel, user) ||
      lacks_a_table(world.arena(), operation, kernel, user) || differs_in_minor(world.arena(), done, kernel, user) ||
      shows_other_pages(world, done, before, kernel, user) || lacks_zero_page(world, done, kernel, user) ||
      is_protected_again(world.arena(), done, kernel, user) || spins_in_the_kernel(world.arena(), done, kernel, user))
    return true;
  return kept_apart(world.address_of(operation.start), operation.length) ||
         (operation.kind == Kind::kMove && kept_apart(world.address_of(operation.source), operation.length));
}

}  // namespace userfault::stress

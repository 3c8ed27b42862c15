// SPDX-License-Identifier: Apache-2.0
#include "support/world.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

namespace userfault::stress {
namespace {

// What kernels of different age or configuration answer differently is not asked for.
void ask(userfault_scan& scan, std::uint64_t question) {
  constexpr std::uint64_t kThere = USERFAULT_PAGE_IS_PRESENT | USERFAULT_PAGE_IS_SWAPPED;
  constexpr std::uint64_t kAll = kThere | USERFAULT_PAGE_IS_WPALLOWED | USERFAULT_PAGE_IS_WRITTEN |
                                 USERFAULT_PAGE_IS_FILE | USERFAULT_PAGE_IS_HUGE;
  scan.return_mask = kAll;
  switch (question) {
    case 0:
      scan.category_mask = USERFAULT_PAGE_IS_WPALLOWED | USERFAULT_PAGE_IS_WRITTEN | USERFAULT_PAGE_IS_PRESENT;
      scan.return_mask = scan.category_mask;
      break;
    case 1: scan.category_mask = scan.return_mask = USERFAULT_PAGE_IS_WRITTEN; break;
    case 2:
      scan.category_mask = USERFAULT_PAGE_IS_WRITTEN;
      scan.vec = scan.vec_len = 0;
      break;
    case 3: scan.category_anyof_mask = kThere; break;
    case 4:
      scan.category_anyof_mask = kThere;
      scan.max_pages = 3;
      scan.vec_len = 2;
      break;
    default:
      scan.category_mask = USERFAULT_PAGE_IS_WRITTEN | USERFAULT_PAGE_IS_PRESENT;
      scan.category_inverted = USERFAULT_PAGE_IS_WRITTEN;
      break;
  }
}

constexpr std::int64_t kUntouched = 0x5a5a5a5a5a5a5a5a;
constexpr std::size_t kSourceBytes = std::size_t{16} << 20;

thread_local sigjmp_buf access_end;
thread_local volatile sig_atomic_t accessing = 0;

void on_access_signal(int signal) {
  if (accessing != 0) ::siglongjmp(access_end, signal);
  ::signal(signal, SIG_DFL);
}

// One access; the signal it ended with, or 0.
int guarded_access(void* address, bool write, std::uint64_t value, std::uint64_t* seen) {
  auto* word = static_cast<volatile std::uint64_t*>(address);
  const int signal = sigsetjmp(access_end, 1);
  if (signal == 0) {
    accessing = 1;
    if (write) *word = value;
    else *seen = *word;
  }
  accessing = 0;
  return signal;
}

// What the page holds, word by word; of a huge page the first 4 KiB and the last word, which is all
// that anybody writes. A signal is content too.
std::uint64_t guarded_digest(const char* page, std::size_t bytes) {
  const auto* words = reinterpret_cast<const volatile std::uint64_t*>(page);
  // Written behind sigsetjmp and not read after siglongjmp.
  std::uint64_t digest = 0;
  const int signal = sigsetjmp(access_end, 1);
  if (signal != 0) {
    accessing = 0;
    return kSignalDigest | static_cast<unsigned>(signal);
  }
  accessing = 1;
  for (std::size_t i = 0; i < kWords; ++i) digest = (digest ^ words[i]) * 0x100000001b3;
  digest ^= words[bytes / sizeof(std::uint64_t) - 1];
  accessing = 0;
  return digest >> 4;
}

}  // namespace

void catch_access_signals() {
  struct sigaction action {};
  action.sa_handler = on_access_signal;
  ::sigaction(SIGBUS, &action, nullptr);
  ::sigaction(SIGSEGV, &action, nullptr);
}

World::World(userfault_engine engine, std::uintptr_t base)
    : engine_(engine), base_(base), source_(kSourceBytes), changer_(true) {
  for (auto& actor : toucher_) actor = std::make_unique<Actor>(false);
}

void World::map_arena() {
  for (const Arena* arena : {&kSmallArena, &kHugeArena})
    static_cast<void>(userfault_munmap(at(0), arena->pages * arena->page));
  if (alias_ != nullptr) ::munmap(alias_, alias_bytes_);
  if (memfd_ >= 0) ::close(memfd_);
  const bool huge = arena_ == &kHugeArena;
  alias_bytes_ = arena_->memfd.count * arena_->page;
  memfd_ = ::memfd_create("userfault-differential", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0U));
  if (memfd_ < 0 || ::ftruncate(memfd_, static_cast<off_t>(alias_bytes_)) != 0) fail("memfd: %s", std::strerror(errno));
  // Linux 6.18 never gives back what is reserved for a private huge page that mremap moves out of its
  // mapping, so nothing is.
  const auto map = [&](const Region& region, int flags, int fd) {
    if (huge && fd < 0) flags |= MAP_HUGETLB;
    if (huge && (flags & MAP_PRIVATE) != 0) flags |= MAP_NORESERVE;
    if (userfault_mmap(page_at(region.first), region.count * arena_->page, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
                       fd, 0) == MAP_FAILED)
      fail("mapping the %s region: %s", region.name, std::strerror(errno));
  };
  map(arena_->own, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map(arena_->shared, MAP_SHARED | MAP_ANONYMOUS, -1);
  map(arena_->memfd, MAP_SHARED, memfd_);
  map(arena_->plain, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (std::size_t i = 0; i < arena_->plain.count; i += 2) make_page(page_at(arena_->plain.first + i), i, 99);
  void* alias = ::mmap(nullptr, alias_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_, 0);
  if (alias == MAP_FAILED) fail("mapping the alias: %s", std::strerror(errno));
  alias_ = static_cast<char*>(alias);
}

int World::open(std::size_t descriptor) {
  int& fd = fds_[descriptor];
  fd = userfault_open(engine_, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno;
  if (userfault_ioctl_api(fd, features_[descriptor], nullptr, nullptr) == 0) return 0;
  const int error = errno;
  userfault_close(fd);
  fd = -1;
  return error;
}

int World::begin(const Sequence& sequence) {
  arena_ = &arena_of(sequence.huge);
  map_arena();
  access_[0] = access_[1] = {};
  spun_ = false;
  int error = 0;
  for (std::size_t i = 0; i < kDescriptors; ++i) {
    features_[i] = sequence.features[i];
    if (error == 0) error = open(i);
  }
  return error;
}

// Ends what the descriptor has registered; what waits there goes on.
void World::reopen(const Operation& operation, Outcome& outcome) {
  if (userfault_close(fds_[operation.descriptor]) != 0) fail("close: %s", std::strerror(errno));
  outcome.error = open(operation.descriptor);
  if (outcome.error != 0) fail("opening again: %s", std::strerror(outcome.error));
}

void World::set(Outcome& outcome, std::int64_t result) const {
  outcome.error = result < 0 ? errno : 0;
  outcome.result = result;
}

Message World::seen_as(const userfault_msg& message, std::size_t descriptor) {
  Message seen{.descriptor = descriptor, .event = message.event};
  if (message.event == USERFAULT_EVENT_PAGEFAULT) {
    seen.flags = message.arg.pagefault.flags;
    seen.from = relative(message.arg.pagefault.address);
    for (int i = 0; i < 2; ++i)
      if (static_cast<int>(message.arg.pagefault.feat.ptid) == toucher_[i]->tid()) seen.thread = i;
  } else if (message.event == USERFAULT_EVENT_FORK) {
    if (children_[descriptor] >= 0) fail("two fork events for one fork");
    children_[descriptor] = static_cast<int>(message.arg.fork.ufd);
  } else if (message.event == USERFAULT_EVENT_REMAP) {
    seen.from = relative(message.arg.remap.from);
    seen.to = relative(message.arg.remap.to);
    seen.length = message.arg.remap.len;
  } else {
    seen.from = relative(message.arg.remove.start);
    seen.to = relative(message.arg.remove.end);
  }
  return seen;
}

void World::read_messages(Outcome& outcome) {
  userfault_msg message;
  for (std::size_t i = 0; i < kDescriptors; ++i)
    while (fds_[i] >= 0 && userfault_read(fds_[i], &message, sizeof message) == sizeof message)
      outcome.messages.push_back(seen_as(message, i));
}

bool World::has_message() const {
  pollfd entries[kDescriptors];
  for (std::size_t i = 0; i < kDescriptors; ++i) entries[i] = {.fd = fds_[i], .events = POLLIN, .revents = 0};
  return ::poll(entries, kDescriptors, 0) > 0;
}

// Everybody has come to rest, and what there is to read was read. A thread may sleep for a lock of
// one that was still running when it was looked at, so all have to be found at rest in one pass.
void World::settle(Outcome& outcome) {
  for (bool rested = false; !rested;) {
    rested = true;
    const std::size_t before = outcome.messages.size();
    for (auto& actor : toucher_) rested &= actor->comes_to_rest();
    rested &= changer_.comes_to_rest();
    read_messages(outcome);
    rested &= changer_.is_done() && outcome.messages.size() == before;
  }
  // Two threads that were woken at once come back in any order.
  std::ranges::sort(outcome.messages);
  for (int i = 0; i < 2; ++i) {
    AccessState state;
    state.waits = !toucher_[i]->is_done();
    if (!state.waits) state = access_[i];
    outcome.accesses.push_back(state);
  }
}

void World::copy(int fd, const Operation& operation, Outcome& outcome) {
  const std::size_t pages = arena_ == &kHugeArena ? kSourceBytes / arena_->page : 16;
  for (std::size_t i = 0; i < pages; ++i) make_page(source_.data() + i * arena_->page, i, operation.tag);
  const void* from = operation.source != 0 ? page_at(arena_->pages - 1) : source_.data();
  set(outcome, userfault_ioctl_copy(fd, at(operation.start), from, operation.length, operation.mode, &outcome.output));
}

void World::operate(const Operation& operation, Outcome& outcome) {
  const int fd = fds_[operation.descriptor];
  char* start = at(operation.start);
  const std::size_t length = operation.length;
  outcome.output = kUntouched;
  std::uint64_t ioctls = 0;
  switch (operation.kind) {
    case Kind::kRegister:
      set(outcome, userfault_ioctl_register(fd, start, length, operation.mode, &ioctls));
      outcome.output = static_cast<std::int64_t>(ioctls);
      break;
    case Kind::kUnregister: set(outcome, userfault_ioctl_unregister(fd, start, length)); break;
    case Kind::kCopy: copy(fd, operation, outcome); break;
    case Kind::kZeropage:
      set(outcome, userfault_ioctl_zeropage(fd, start, length, operation.mode, &outcome.output));
      break;
    case Kind::kContinue:
      set(outcome, userfault_ioctl_continue(fd, start, length, operation.mode, &outcome.output));
      break;
    case Kind::kPoison: set(outcome, userfault_ioctl_poison(fd, start, length, operation.mode, &outcome.output)); break;
    case Kind::kMove:
      set(outcome, userfault_ioctl_move(fd, start, at(operation.source), length, operation.mode, &outcome.output));
      break;
    case Kind::kWriteprotect: set(outcome, userfault_ioctl_writeprotect(fd, start, length, operation.mode)); break;
    case Kind::kWake: set(outcome, userfault_ioctl_wake(fd, start, length)); break;
    default: break;
  }
}

void World::access(const Operation& operation, Outcome& outcome) {
  Actor& actor = *toucher_[operation.thread];
  if (!actor.is_done()) {
    outcome.result = -2;
    return;
  }
  AccessState& state = access_[operation.thread];
  state = {};
  char* address = at(operation.start);
  const bool write = operation.kind == Kind::kWrite;
  actor.start([&state, address, write, tag = operation.tag] {
    state.signal = guarded_access(address, write, tag, &state.value);
  });
}

void World::change_layout(const Operation& operation, Outcome& outcome) {
  char* start = at(operation.start);
  const std::size_t length = operation.length;
  changer_.start([this, &outcome, operation, start, length] {
    const auto mode = static_cast<int>(operation.mode);
    const auto address = [&](const void* got) {
      set(outcome, got == MAP_FAILED ? -1 : static_cast<std::int64_t>(relative(reinterpret_cast<std::uint64_t>(got))));
    };
    switch (operation.kind) {
      case Kind::kMadvise: set(outcome, userfault_madvise(start, length, mode)); break;
      case Kind::kMprotect: set(outcome, userfault_mprotect(start, length, mode)); break;
      case Kind::kMunmap: set(outcome, userfault_munmap(start, length)); break;
      case Kind::kMmap:
        address(userfault_mmap(start, length, mode, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        break;
      default:
        address(userfault_mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED | mode, at(operation.source)));
        break;
    }
  });
}

void World::scan(const Operation& operation, Outcome& outcome) {
  userfault_page_region regions[8] = {};
  userfault_scan scan{};
  scan.size = sizeof scan;
  scan.start = reinterpret_cast<std::uint64_t>(at(operation.start));
  scan.end = scan.start + operation.length;
  scan.vec = reinterpret_cast<std::uint64_t>(regions);
  scan.vec_len = 8;
  scan.flags = operation.mode;
  ask(scan, operation.source);
  const long found = userfault_pagemap_scan(&scan);
  set(outcome, found);
  if (found >= 0) outcome.extra.push_back(relative(scan.walk_end));
  for (long i = 0; i < found; ++i) {
    outcome.extra.push_back(relative(regions[i].start));
    outcome.extra.push_back(relative(regions[i].end));
    outcome.extra.push_back(regions[i].categories);
  }
}

Outcome World::perform(const Operation& operation) {
  Outcome outcome;
  switch (operation.kind) {
    case Kind::kRead:
    case Kind::kWrite: access(operation, outcome); break;
    case Kind::kWriteAlias:
      make_page(alias_ + (operation.start - arena_->memfd.first * arena_->page), operation.start / arena_->page,
                operation.tag);
      break;
    case Kind::kMadvise:
    case Kind::kMprotect:
    case Kind::kMunmap:
    case Kind::kMmap:
    case Kind::kMremap: change_layout(operation, outcome); break;
    case Kind::kScan: scan(operation, outcome); break;
    case Kind::kReopen: reopen(operation, outcome); break;
    default: operate(operation, outcome); break;
  }
  settle(outcome);
  return outcome;
}

void World::use_child(const Operation& operation, Outcome& outcome) {
  Operation one = operation;
  one.length = arena_->page;
  one.mode = 0;
  bool used = false;
  for (int& child : children_) {
    if (child < 0) continue;
    if (!used) copy(child, one, outcome);
    used = true;
    if (userfault_close(child) != 0) fail("closing the child's descriptor: %s", std::strerror(errno));
    child = -1;
  }
}

void World::read_memory(std::uint64_t* digests) const {
  for (std::size_t page = 0; page < arena_->pages; ++page) digests[page] = guarded_digest(page_at(page), arena_->page);
}

Outcome World::end() {
  for (int& fd : fds_) {
    if (userfault_close(fd) != 0) fail("close: %s", std::strerror(errno));
    fd = -1;
    // Who is released may have to do with the next one.
    for (auto& actor : toucher_) static_cast<void>(actor->comes_to_rest());
  }
  for (auto& actor : toucher_) {
    while (!actor->is_done()) {
      static_cast<void>(actor->comes_to_rest());
      if (!actor->spins()) continue;
      spun_ = true;
      static_cast<void>(userfault_munmap(at(0), arena_->pages * arena_->page));
    }
  }
  Outcome outcome;
  settle(outcome);
  outcome.extra.resize(arena_->pages);
  read_memory(outcome.extra.data());
  return outcome;
}

std::string to_string(const Outcome& outcome) {
  char text[200];
  std::snprintf(text, sizeof text, "%lld errno %d (%s) output %lld/0x%llx", static_cast<long long>(outcome.result),
                outcome.error, std::strerror(outcome.error), static_cast<long long>(outcome.output),
                static_cast<unsigned long long>(outcome.output));
  std::string result = text;
  for (const Message& m : outcome.messages) {
    std::snprintf(text, sizeof text, "; message %x of %zu flags %llx from %llx to %llx length %llx thread %d", m.event,
                  m.descriptor, static_cast<unsigned long long>(m.flags), static_cast<unsigned long long>(m.from),
                  static_cast<unsigned long long>(m.to), static_cast<unsigned long long>(m.length), m.thread);
    result += text;
  }
  for (const AccessState& a : outcome.accesses) {
    std::snprintf(text, sizeof text, "; access %s signal %d value %llx", a.waits ? "waits" : "done", a.signal,
                  static_cast<unsigned long long>(a.value));
    result += text;
  }
  for (std::size_t i = 0; i < outcome.extra.size(); ++i) {
    if (outcome.extra[i] == 0) continue;
    std::snprintf(text, sizeof text, " %zu:%llx", i, static_cast<unsigned long long>(outcome.extra[i]));
    result += text;
  }
  return result;
}

}  // namespace userfault::stress

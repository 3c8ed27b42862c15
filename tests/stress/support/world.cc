// SPDX-License-Identifier: Apache-2.0
#include "support/world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace userfault::stress {
namespace {

constexpr std::int64_t kUntouched = 0x5a5a5a5a5a5a5a5a;
constexpr std::size_t kMostPages = 16;

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

}  // namespace

void catch_access_signals() {
  struct sigaction action {};
  action.sa_handler = on_access_signal;
  ::sigaction(SIGBUS, &action, nullptr);
  ::sigaction(SIGSEGV, &action, nullptr);
}

// ---- actors ----

Actor::Actor(bool raises_events) : raises_events_(raises_events), thread_([this] { loop(); }) {
  while (tid_.load() == 0) std::this_thread::yield();
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid_.load());
  status_ = ::open(path, O_RDONLY | O_CLOEXEC);
  if (status_ < 0) fail("%s: %s", path, std::strerror(errno));
}

Actor::~Actor() {
  end_.store(true);
  command_.fetch_add(1);
  command_.notify_one();
  thread_.join();
  ::close(status_);
}

void Actor::loop() {
  tid_.store(static_cast<int>(::gettid()));
  for (std::uint32_t seen = 0;; ++seen) {
    command_.wait(seen);
    if (end_.load()) return;
    work_();
    done_.store(true);
  }
}

void Actor::start(std::function<void()> work) {
  work_ = std::move(work);
  done_.store(false);
  command_.fetch_add(1);
  command_.notify_one();
}

bool Actor::comes_to_rest() {
  for (bool was_running = false;; was_running = true) {
    if (done_.load()) return !was_running;
    char text[256];
    const ssize_t got = ::pread(status_, text, sizeof text - 1, 0);
    if (got <= 0) fail("reading a thread's stat: %s", std::strerror(errno));
    text[got] = '\0';
    const char* state = std::strrchr(text, ')');
    // 'D' is how the kernel's engine waits for an event to be read (TASK_KILLABLE).
    if (state != nullptr && (state[2] == 'S' || (state[2] == 'D' && raises_events_))) return !was_running;
    std::this_thread::yield();
  }
}

// ---- the world ----

World::World(userfault_engine engine, std::uintptr_t base)
    : engine_(engine), base_(base), source_(kMostPages * kPage), changer_(true) {
  for (auto& actor : toucher_) actor = std::make_unique<Actor>(false);
}

void World::map_arena() {
  static_cast<void>(userfault_munmap(at(0), kArenaPages * kPage));
  if (alias_ != nullptr) ::munmap(alias_, kMemfdRegion.count * kPage);
  if (memfd_ >= 0) ::close(memfd_);
  memfd_ = ::memfd_create("userfault-differential", MFD_CLOEXEC);
  if (memfd_ < 0 || ::ftruncate(memfd_, kMemfdRegion.count * kPage) != 0) fail("memfd: %s", std::strerror(errno));
  const auto map = [&](const Region& region, int flags, int fd) {
    if (userfault_mmap(at(region.first * kPage), region.count * kPage, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd,
                       0) == MAP_FAILED)
      fail("mapping the %s region: %s", region.name, std::strerror(errno));
  };
  map(kPrivateRegion, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  map(kSharedRegion, MAP_SHARED | MAP_ANONYMOUS, -1);
  map(kMemfdRegion, MAP_SHARED, memfd_);
  map(kPlainRegion, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (std::size_t i = 0; i < kPlainRegion.count; i += 2) make_page(at((kPlainRegion.first + i) * kPage), i, 99);
  void* alias = ::mmap(nullptr, kMemfdRegion.count * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_, 0);
  if (alias == MAP_FAILED) fail("mapping the alias: %s", std::strerror(errno));
  alias_ = static_cast<char*>(alias);
}

int World::begin(std::uint64_t features) {
  map_arena();
  access_[0] = access_[1] = {};
  fd_ = userfault_open(engine_, O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) return errno;
  if (userfault_ioctl_api(fd_, features, nullptr, nullptr) == 0) return 0;
  const int error = errno;
  userfault_close(fd_);
  fd_ = -1;
  return error;
}

void World::set(Outcome& outcome, std::int64_t result) const {
  outcome.error = result < 0 ? errno : 0;
  outcome.result = result;
}

void World::read_messages(Outcome& outcome) {
  userfault_msg message;
  while (fd_ >= 0 && userfault_read(fd_, &message, sizeof message) == sizeof message) {
    Message seen{.event = message.event};
    if (message.event == USERFAULT_EVENT_PAGEFAULT) {
      seen.flags = message.arg.pagefault.flags;
      seen.from = relative(message.arg.pagefault.address);
      for (int i = 0; i < 2; ++i)
        if (static_cast<int>(message.arg.pagefault.feat.ptid) == toucher_[i]->tid()) seen.thread = i;
    } else if (message.event == USERFAULT_EVENT_REMAP) {
      seen.from = relative(message.arg.remap.from);
      seen.to = relative(message.arg.remap.to);
      seen.length = message.arg.remap.len;
    } else {
      seen.from = relative(message.arg.remove.start);
      seen.to = relative(message.arg.remove.end);
    }
    outcome.messages.push_back(seen);
  }
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

void World::operate(const Operation& operation, Outcome& outcome) {
  char* start = at(operation.start);
  const std::size_t length = operation.length;
  outcome.output = kUntouched;
  std::uint64_t ioctls = 0;
  switch (operation.kind) {
    case Kind::kRegister:
      set(outcome, userfault_ioctl_register(fd_, start, length, operation.mode, &ioctls));
      outcome.output = static_cast<std::int64_t>(ioctls);
      break;
    case Kind::kUnregister: set(outcome, userfault_ioctl_unregister(fd_, start, length)); break;
    case Kind::kCopy: {
      for (std::size_t i = 0; i < kMostPages; ++i) make_page(source_.data() + i * kPage, i, operation.tag);
      const void* from = operation.source != 0 ? at((kArenaPages - 1) * kPage) : source_.data();
      set(outcome, userfault_ioctl_copy(fd_, start, from, length, operation.mode, &outcome.output));
      break;
    }
    case Kind::kZeropage:
      set(outcome, userfault_ioctl_zeropage(fd_, start, length, operation.mode, &outcome.output));
      break;
    case Kind::kContinue:
      set(outcome, userfault_ioctl_continue(fd_, start, length, operation.mode, &outcome.output));
      break;
    case Kind::kPoison:
      set(outcome, userfault_ioctl_poison(fd_, start, length, operation.mode, &outcome.output));
      break;
    case Kind::kMove:
      set(outcome, userfault_ioctl_move(fd_, start, at(operation.source), length, operation.mode, &outcome.output));
      break;
    case Kind::kWriteprotect: set(outcome, userfault_ioctl_writeprotect(fd_, start, length, operation.mode)); break;
    case Kind::kWake: set(outcome, userfault_ioctl_wake(fd_, start, length)); break;
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
  scan.category_mask = USERFAULT_PAGE_IS_WPALLOWED | USERFAULT_PAGE_IS_WRITTEN | USERFAULT_PAGE_IS_PRESENT;
  scan.return_mask = scan.category_mask;
  const long found = userfault_pagemap_scan(&scan);
  set(outcome, found);
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
      make_page(alias_ + (operation.start - kMemfdRegion.first * kPage), operation.start / kPage, operation.tag);
      break;
    case Kind::kMadvise:
    case Kind::kMprotect:
    case Kind::kMunmap:
    case Kind::kMmap:
    case Kind::kMremap: change_layout(operation, outcome); break;
    case Kind::kScan: scan(operation, outcome); break;
    default: operate(operation, outcome); break;
  }
  settle(outcome);
  return outcome;
}

Outcome World::end() {
  if (userfault_close(fd_) != 0) fail("close: %s", std::strerror(errno));
  fd_ = -1;
  for (auto& actor : toucher_)
    while (!actor->is_done()) std::this_thread::yield();
  Outcome outcome;
  settle(outcome);
  // Whatever can be read, word by word in two places of each page; a signal is content too.
  for (std::size_t page = 0; page < kArenaPages; ++page) {
    for (const std::size_t word : {std::size_t{0}, kWords - 1}) {
      std::uint64_t value = 0;
      const int signal = guarded_access(at(page * kPage) + word * 8, false, 0, &value);
      outcome.extra.push_back(signal != 0 ? static_cast<std::uint64_t>(signal) << 56 : value);
    }
  }
  return outcome;
}

std::string to_string(const Outcome& outcome) {
  char text[200];
  std::snprintf(text, sizeof text, "%lld errno %d (%s) output %lld/0x%llx", static_cast<long long>(outcome.result),
                outcome.error, std::strerror(outcome.error), static_cast<long long>(outcome.output),
                static_cast<unsigned long long>(outcome.output));
  std::string result = text;
  for (const Message& m : outcome.messages) {
    std::snprintf(text, sizeof text, "; message %x flags %llx from %llx to %llx length %llx thread %d", m.event,
                  static_cast<unsigned long long>(m.flags), static_cast<unsigned long long>(m.from),
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

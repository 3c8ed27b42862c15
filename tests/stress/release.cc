// SPDX-License-Identifier: Apache-2.0
// UNREGISTER and close while threads wait, and while a monitor fills: everybody goes on, with the
// page that was filled or with zeroes, never with a part of one.
#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "support/memory.h"

namespace userfault::stress {
namespace {

constexpr std::size_t kPages = 8;
constexpr std::size_t kReaders = 4;

void read_either(const Memory& memory, std::size_t page) {
  const volatile std::uint64_t* words = memory.words(page);
  if (words[0] != 0) {
    check_page(memory, page);
    return;
  }
  for (std::size_t i = 0; i < kWords; ++i)
    if (words[i] != 0) fail("page %zu begins with zeroes and word %zu is not", page, i);
}

// Reads up to `most` messages of threads that wait, and leaves them waiting.
void take_some(const Uffd& uffd, std::size_t most) {
  for (std::size_t taken = 0; taken < most;) {
    userfault_msg message;
    if (userfault_read(uffd.fd(), &message, sizeof message) > 0) ++taken;
    else if (errno == EAGAIN) std::this_thread::yield();
    else fail("read: %s", std::strerror(errno));
  }
}

void copy_some(const Uffd& uffd, const Memory& memory, std::uint64_t tag) {
  std::vector<char> source(kPage);
  for (std::size_t page = 0; page < kPages; page += 2) {
    make_page(source.data(), page, tag);
    const int error = uffd.copy(memory, page, source.data(), 1);
    if (error == ENOENT || error == EBADF) return;
    // After the end of the registration a thread that went on has made the page there.
    if (error != 0 && error != EEXIST) fail("UFFDIO_COPY of page %zu: %s", page, std::strerror(error));
  }
}

void one_round(const Options& options, Backing backing, Random& random, std::uint64_t round) {
  const Memory memory(backing, kPages);
  Uffd uffd(options, O_CLOEXEC | O_NONBLOCK);
  uffd.register_all(memory, USERFAULT_REGISTER_MODE_MISSING);
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < kReaders; ++i) {
    const std::size_t page = random.below(kPages);
    readers.emplace_back([&memory, page] { read_either(memory, page); });
  }
  take_some(uffd, random.below(kReaders + 1));
  std::thread filler;
  if (random.chance(50)) filler = std::thread([&uffd, &memory, round] { copy_some(uffd, memory, round); });
  // A number that is closed under its user is the program's mistake: the filler is done first.
  const bool closes = random.chance(50);
  if (closes) {
    if (filler.joinable()) filler.join();
    uffd.close();
  } else if (userfault_ioctl_unregister(uffd.fd(), memory.data(), memory.bytes()) != 0) {
    fail("UFFDIO_UNREGISTER: %s", std::strerror(errno));
  } else if (options.engine == USERFAULT_ENGINE_KERNEL) {
    // The kernel wakes before it locks the mapping against faults (userfaultfd_unregister), so since
    // faults need no more than the mapping's own lock (Linux 6.7) it can miss one that comes between.
    uffd.wake(memory, 0, kPages);
  }
  for (std::thread& thread : readers) thread.join();
  if (filler.joinable()) filler.join();
  for (std::size_t page = 0; page < kPages; ++page) read_either(memory, page);
}

}  // namespace

std::uint64_t run_release(const Options& options) {
  Random random(options.seed);
  std::uint64_t rounds = 0;
  for (const Clock clock(options.seconds); clock.more(); ++rounds)
    one_round(options, kBackings[rounds % 3], random, rounds + 1);
  return rounds;
}

}  // namespace userfault::stress

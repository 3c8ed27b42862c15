// SPDX-License-Identifier: Apache-2.0
// usage: scale_tests PART [--engine user|kernel] [--mib N] [--seed N]
// PART: random, random-shared (every page of N MiB faulted in random order), threads (64 at once),
// regions (1,000 of them, with 256 descriptors), limit (write protection when no mapping is left).
// The number of mappings is read from /proc/self/maps while it grows.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "support/memory.h"
#include "support/sanitizers.h"

namespace {

using namespace userfault::stress;

std::size_t count_mappings() {
  const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("/proc/self/maps: %s", std::strerror(errno));
  std::vector<char> text(1 << 16);
  std::size_t lines = 0;
  for (ssize_t got; (got = ::read(fd, text.data(), text.size())) > 0;)
    lines += static_cast<std::size_t>(std::count(text.begin(), text.begin() + got, '\n'));
  ::close(fd);
  return lines;
}

std::size_t max_map_count() {
  std::size_t limit = 65530;
  if (std::FILE* file = std::fopen("/proc/sys/vm/max_map_count", "r"); file != nullptr) {
    if (std::fscanf(file, "%zu", &limit) != 1) limit = 65530;
    std::fclose(file);
  }
  return std::min<std::size_t>(limit, 65530);
}

// A line of /proc/self/status in bytes.
std::size_t status_bytes(const char* name) {
  std::size_t kib = 0;
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) fail("/proc/self/status: %s", std::strerror(errno));
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr)
    if (std::strncmp(line, name, std::strlen(name)) == 0)
      kib = std::strtoull(line + std::strlen(name) + 1, nullptr, 10);
  std::fclose(file);
  return kib * 1024;
}

// Resolves faults with big reads until the last page of the memory is asked for.
void serve(const Uffd& uffd, const Memory& memory) {
  std::vector<userfault_msg> messages(128);
  std::vector<char> source(kPage);
  for (bool last = false; !last;) {
    const ssize_t got = userfault_read(uffd.fd(), messages.data(), messages.size() * sizeof messages[0]);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read: %s", std::strerror(errno));
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof messages[0]; ++i) {
      const std::size_t page = memory.index_of(messages[i].arg.pagefault.address);
      make_page(source.data(), page, 1);
      const int error = uffd.copy(memory, page, source.data(), 1);
      if (error == EEXIST) uffd.wake(memory, page, 1);
      if (error != 0 && error != EEXIST) fail("UFFDIO_COPY of page %zu: %s", page, std::strerror(error));
      last |= page + 1 == memory.pages();
    }
  }
}

void read_one(const Memory& memory, std::size_t page) {
  if (const std::uint64_t value = memory.words(page)[7]; value != word_of(page, 1, 7))
    fail("page %zu holds %016" PRIx64, page, value);
}

void random_walk(const Options& options, Backing backing) {
  const std::size_t pages = (options.size_mib << 20) / kPage;
  std::size_t peak = 0;
  // State bytes, areas and queues of the engine are private memory of ours: what RssAnon holds beyond
  // the pages themselves, which are shared memory on the user engine and private on the kernel's.
  const std::size_t before = status_bytes("RssAnon");
  const std::size_t tables = status_bytes("VmPTE");
  const Memory memory(backing, pages + 1);
  const Uffd uffd(options, O_CLOEXEC);
  uffd.register_all(memory, USERFAULT_REGISTER_MODE_MISSING);
  std::vector<std::uint32_t> order(pages);
  for (std::size_t i = 0; i < pages; ++i) order[i] = static_cast<std::uint32_t>(i);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(options.seed));
  std::thread monitor([&] { serve(uffd, memory); });
  for (std::size_t i = 0; i < pages; ++i) {
    read_one(memory, order[i]);
    if (i % (pages / 64 + 1) == 0) {
      progress();
      peak = std::max(peak, count_mappings());
    }
  }
  peak = std::max(peak, count_mappings());
  read_one(memory, pages);
  monitor.join();
  const std::size_t rss = status_bytes("RssAnon");
  const std::size_t ours = rss - std::min(rss, before + pages * sizeof order[0]);
  std::printf("%zu pages: at most %zu mappings; %.2f bytes of private memory a page, page tables %.2f\n", pages, peak,
              static_cast<double>(ours) / static_cast<double>(pages),
              static_cast<double>(status_bytes("VmPTE") - tables) / static_cast<double>(pages));
  if (peak >= max_map_count()) fail("%zu mappings", peak);
  constexpr std::size_t kConstant = 8 << 20;
  // The shadow is an eighth of the memory that was touched, and private.
  if (userfault::test::kAddressSanitizer) std::printf("with AddressSanitizer's shadow in it: not judged\n");
  if (!userfault::test::kAddressSanitizer && options.engine == USERFAULT_ENGINE_USER && ours > 4 * pages + kConstant)
    fail("%zu bytes of private memory for %zu pages", ours, pages);
}

void many_threads(const Options& options) {
  constexpr std::size_t kThreads = 64;
  constexpr std::size_t kEach = 64;
  const Memory memory(Backing::kPrivate, kThreads * kEach + 1);
  const Uffd uffd(options, O_CLOEXEC);
  uffd.register_all(memory, USERFAULT_REGISTER_MODE_MISSING);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&memory, i] {
      // Every thread reads all pages, from a place of its own on: many wait for the same page.
      for (std::size_t k = 0; k < kThreads * kEach; ++k) read_one(memory, (i * kEach + k) % (kThreads * kEach));
    });
  std::thread monitor([&] { serve(uffd, memory); });
  for (std::thread& thread : threads) thread.join();
  read_one(memory, kThreads * kEach);
  monitor.join();
}

void many_regions(const Options& options) {
  constexpr std::size_t kRegions = 1000;
  constexpr std::size_t kPages = 8;
  // Every other block of pages is a region; between them lies memory that nobody registered.
  const Memory memory(Backing::kPrivate, kRegions * 2 * kPages);
  // The default is 1024, of which a program needs some itself.
  constexpr rlimit kDescriptors{.rlim_cur = 256, .rlim_max = 256};
  if (::setrlimit(RLIMIT_NOFILE, &kDescriptors) != 0) fail("setrlimit: %s", std::strerror(errno));
  const Uffd uffd(options, O_CLOEXEC | O_NONBLOCK);
  std::vector<char> source(kPage);
  for (std::size_t i = 0; i < kRegions; ++i)
    if (userfault_ioctl_register(uffd.fd(), memory.page(i * 2 * kPages), kPages * kPage,
                                 USERFAULT_REGISTER_MODE_MISSING, nullptr) != 0)
      fail("UFFDIO_REGISTER of region %zu: %s", i, std::strerror(errno));
  Random random(options.seed);
  for (std::size_t i = 0; i < kRegions; ++i) {
    const std::size_t page = random.below(kRegions) * 2 * kPages + random.below(kPages);
    make_page(source.data(), page, 1);
    const int error = uffd.copy(memory, page, source.data(), 1);
    if (error != 0 && error != EEXIST) fail("UFFDIO_COPY: %s", std::strerror(error));
    read_one(memory, page);
  }
  std::printf("%zu regions, %zu mappings, at most %ju descriptors\n", kRegions, count_mappings(),
              static_cast<std::uintmax_t>(kDescriptors.rlim_cur));
}

// Every other page protected makes a mapping a page. With few mappings left that has to end with
// ENOMEM, and what was protected or not, and written, has to hold all the same.
void limit_of_mappings(const Options& options) {
  constexpr std::size_t kPages = 4096;
  const Memory memory(Backing::kPrivate, kPages);
  const Uffd uffd(options, O_CLOEXEC | O_NONBLOCK);
  uffd.register_all(memory, USERFAULT_REGISTER_MODE_MISSING | USERFAULT_REGISTER_MODE_WP);
  std::vector<char> source(kPage);
  for (std::size_t page = 0; page < kPages; ++page) {
    make_page(source.data(), page, 1);
    if (const int error = uffd.copy(memory, page, source.data(), 1); error != 0)
      fail("UFFDIO_COPY: %s", std::strerror(error));
  }
  // Pages of alternating protection are mappings of their own.
  const std::size_t room = 600;
  const std::size_t fillers = max_map_count() - count_mappings() - room;
  char* filler = static_cast<char*>(
      ::mmap(nullptr, (fillers + 1) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (filler == MAP_FAILED) fail("mmap: %s", std::strerror(errno));
  for (std::size_t i = 0; i < fillers; i += 2)
    if (::mprotect(filler + i * kPage, kPage, PROT_READ) != 0) fail("mprotect: %s", std::strerror(errno));
  std::vector<bool> is_protected(kPages);
  std::size_t refused = 0;
  for (std::size_t page = 0; page < kPages; page += 2) {
    const int result =
        userfault_ioctl_writeprotect(uffd.fd(), memory.page(page), kPage, USERFAULT_WRITEPROTECT_MODE_WP);
    if (result != 0 && errno != ENOMEM) fail("UFFDIO_WRITEPROTECT of page %zu: %s", page, std::strerror(errno));
    is_protected[page] = result == 0;
    refused += result == 0 ? 0 : 1;
  }
  for (std::size_t page = 0; page < kPages; ++page) check_page(memory, page);
  // With the mappings back, what was refused is writable and what was protected is not.
  ::munmap(filler, (fillers + 1) * kPage);
  for (std::size_t page = 0; page < kPages; ++page) {
    if (is_protected[page]) continue;
    memory.words(page)[0] = word_of(page, 1, 0);
    check_page(memory, page);
  }
  std::thread writer([&] { memory.words(0)[0] = word_of(0, 1, 0); });
  userfault_msg message;
  while (userfault_read(uffd.fd(), &message, sizeof message) != sizeof message)
    if (errno != EAGAIN) fail("read: %s", std::strerror(errno));
  if (memory.index_of(message.arg.pagefault.address) != 0) fail("a fault of an unprotected page");
  uffd.protect(memory, 0, kPages, false);
  writer.join();
  std::printf("%zu of %zu protections were refused with ENOMEM\n", refused, kPages / 2);
  if (options.engine == USERFAULT_ENGINE_USER && refused == 0) fail("the limit was never reached");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) fail("usage: %s PART [--engine user|kernel] [--mib N] [--seed N]", argv[0]);
  Options options{.seed = std::random_device{}(), .size_mib = 256};
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--engine") == 0 && std::strcmp(argv[i + 1], "kernel") == 0)
      options.engine = USERFAULT_ENGINE_KERNEL, options.engine_name = "kernel";
    if (std::strcmp(argv[i], "--mib") == 0) options.size_mib = std::strtoull(argv[i + 1], nullptr, 0);
    if (std::strcmp(argv[i], "--seed") == 0) options.seed = std::strtoull(argv[i + 1], nullptr, 0);
  }
  std::printf("%s on the %s engine, --seed %" PRIu64 "\n", argv[1], options.engine_name, options.seed);
  std::fflush(stdout);
  progress();
  if (std::strcmp(argv[1], "random") == 0) random_walk(options, Backing::kPrivate);
  else if (std::strcmp(argv[1], "random-shared") == 0) random_walk(options, Backing::kShared);
  else if (std::strcmp(argv[1], "threads") == 0) many_threads(options);
  else if (std::strcmp(argv[1], "regions") == 0) many_regions(options);
  else if (std::strcmp(argv[1], "limit") == 0) limit_of_mappings(options);
  else fail("there is no part %s", argv[1]);
  return 0;
}

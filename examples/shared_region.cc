// SPDX-License-Identifier: Apache-2.0
// Two processes use one region of shared memory; one of them brings its pages, for both.
//
//   example_shared_region [--pages 256] [--engine kernel|user]
//
// The region is a memfd that both map. Each registers its own mapping with a descriptor of its own,
// and the child sends its descriptor to the parent (SCM_RIGHTS). Threads of the parent answer the
// faults of both: a page that one fills for one is there for the other, too. Both then read every
// page, at the same time, and check it.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "userfault/descriptor.h"

namespace {

using userfault::Descriptor;
using userfault::PageRange;

const std::size_t kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

struct Side {
  Descriptor descriptor;
  PageRange range;
};

// Maps the region here and has a descriptor watch it.
Side make_side(int memory, std::size_t length, userfault::EngineKind engine) {
  auto descriptor = Descriptor::open({.engine = engine});
  if (!descriptor) {
    std::fprintf(stderr, "%s\n", descriptor.error().message().c_str());
    std::_Exit(77);
  }
  void* const mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  const PageRange range = PageRange::of(mapped, length);
  if (const auto done = descriptor->register_range(range, userfault::mode::kMissing); !done) {
    std::fprintf(stderr, "%s\n", done.error().message().c_str());
    std::_Exit(1);
  }
  return {std::move(*descriptor), range};
}

std::uint64_t word_of(std::size_t page) { return (page + 1) * 0x9E3779B97F4A7C15u; }

// Answers the faults of one side until it is told to stop.
void serve(const Side& side, const std::atomic<bool>& stop, std::atomic<int>& filled) {
  std::vector<std::uint64_t> page(kPage / sizeof(std::uint64_t));
  std::array<userfault::Message, 8> buffer;
  while (!stop) {
    // The time limit is for noticing `stop`.
    const auto ready = side.descriptor.wait(std::chrono::milliseconds(20));
    if (!ready || !*ready) continue;
    const auto messages = side.descriptor.read(buffer);
    if (!messages) continue;
    for (const userfault::Message& message : *messages) {
      const auto* const fault = std::get_if<userfault::Fault>(&message);
      if (fault == nullptr) continue;
      const std::uintptr_t at = fault->address & ~(kPage - 1);
      page.assign(page.size(), word_of((at - side.range.start) / kPage));
      // Where both sides ask for the same page the second finds it there, which is as good.
      if (side.descriptor.copy_fully({at, kPage}, page.data())) ++filled;
    }
  }
}

// Whether every word of every page is right; `backwards` so that the two sides meet half-way.
bool check(const PageRange& range, bool backwards) {
  const auto* const words = static_cast<const volatile std::uint64_t*>(static_cast<void*>(range.data()));
  const std::size_t pages = range.length / kPage;
  for (std::size_t i = 0; i < pages; ++i) {
    const std::size_t page = backwards ? pages - 1 - i : i;
    for (std::size_t word = 0; word < kPage / 8; ++word)
      if (words[page * (kPage / 8) + word] != word_of(page)) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t pages = 256;
  auto engine = userfault::EngineKind::kAutomatic;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string value = argv[i + 1];
    if (std::strcmp(argv[i], "--pages") == 0) pages = std::stoul(value);
    if (value == "kernel") engine = userfault::EngineKind::kKernel;
    if (value == "user") engine = userfault::EngineKind::kUser;
  }
  const std::size_t length = pages * kPage;
  const int memory = memfd_create("shared", MFD_CLOEXEC);
  int sockets[2];
  if (memory < 0 || ftruncate(memory, static_cast<off_t>(length)) != 0 ||
      socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
    return std::perror("shared_region"), 1;

  const pid_t child = fork();
  if (child == 0) {
    close(sockets[0]);
    const Side side = make_side(memory, length, engine);
    if (!side.descriptor.send_to(sockets[1])) std::_Exit(1);
    if (write(sockets[1], &side.range.start, sizeof side.range.start) < 0) std::_Exit(1);
    std::_Exit(check(side.range, true) ? 0 : 2);
  }
  close(sockets[1]);
  const Side ours = make_side(memory, length, engine);
  auto received = Descriptor::receive_from(sockets[0]);
  std::uintptr_t start = 0;
  if (!received || read(sockets[0], &start, sizeof start) != sizeof start)
    return std::fprintf(stderr, "no descriptor came from the child\n"), 77;
  const Side theirs{std::move(*received), {start, length}};

  std::atomic<bool> stop{false};
  std::atomic<int> filled{0};
  std::vector<std::thread> servers;
  for (const Side* side : {&ours, &theirs}) servers.emplace_back([&, side] { serve(*side, stop, filled); });
  const bool good = check(ours.range, false);
  int status = 0;
  waitpid(child, &status, 0);
  stop = true;
  for (std::thread& server : servers) server.join();
  const bool child_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  std::printf("%zu pages, %d fills: here %s, in the child %s\n", pages, filled.load(), good ? "right" : "WRONG",
              child_good ? "right" : "WRONG");
  return good && child_good ? 0 : 1;
}

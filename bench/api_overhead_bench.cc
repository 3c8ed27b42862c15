// SPDX-License-Identifier: Apache-2.0
// Question: what does the typed API cost on top of a raw C loop over ioctl(2)? At most 2 %.
//
// Both ways do the same system calls on the kernel's engine in one process, in turns that are short
// enough (well under a time slice) for most of them to run undisturbed. A fault is
// measured in the faulting thread: from the access to its return, with a reader thread that either
// polls, reads and copies by hand, or asks the API to.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "support/interleaved.h"
#include "userfault/descriptor.h"
#include "userfault/region.h"

namespace {

using namespace userfault;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMiB = 1u << 20;

template <typename T>
T value_or_die(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "api_overhead: %s\n", result.error().message().c_str());
    std::exit(1);
  }
  return std::move(*result);
}

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void drop(const Region& region) {
  if (::madvise(region.data(), region.size(), MADV_DONTNEED) != 0) die("madvise");
}

// Fills the region in pieces of `piece` bytes; only the filling is on the clock.
template <typename Fill>
double timed_fill(const Region& region, std::size_t piece, Fill&& fill) {
  drop(region);
  return bench::nanoseconds([&] {
    for (std::size_t done = 0; done < region.size(); done += piece) fill(region.range().start + done);
  });
}

bench::Comparison copies(const Descriptor& descriptor, std::size_t region_bytes, std::size_t piece, int repetitions) {
  const auto region = value_or_die(Region::create(descriptor, region_bytes));
  const std::vector<char> source(piece, 's');
  const auto raw = [&] {
    return timed_fill(region, piece, [&](std::uintptr_t at) {
      userfault_copy argument{at, reinterpret_cast<std::uintptr_t>(source.data()), piece, 0, 0};
      if (::ioctl(descriptor.fd(), USERFAULT_IOC_COPY, &argument) != 0) die("UFFDIO_COPY");
    });
  };
  const auto api = [&] {
    return timed_fill(region, piece, [&](std::uintptr_t at) {
      if (!descriptor.copy_fully({at, piece}, source.data())) die("copy_fully");
    });
  };
  return bench::compare({.repetitions = repetitions, .units = static_cast<double>(region_bytes / piece)}, raw, api);
}

void serve_raw(int fd, const char* source, std::size_t faults) {
  for (std::size_t served = 0; served < faults;) {
    pollfd entry{fd, POLLIN, 0};
    if (::poll(&entry, 1, -1) < 0) die("poll");
    userfault_msg message;
    if (::read(fd, &message, sizeof message) != sizeof message) continue;
    userfault_copy argument{message.arg.pagefault.address, reinterpret_cast<std::uintptr_t>(source), kPage, 0, 0};
    if (::ioctl(fd, USERFAULT_IOC_COPY, &argument) != 0) die("UFFDIO_COPY");
    ++served;
  }
}

void serve_api(const Descriptor& descriptor, const char* source, std::size_t faults) {
  for (std::size_t served = 0; served < faults;) {
    if (!value_or_die(descriptor.wait(std::chrono::milliseconds(-1)))) continue;
    Message message;
    if (value_or_die(descriptor.read({&message, 1})).empty()) continue;
    const auto& fault = std::get<Fault>(message);
    if (!descriptor.copy_fully({fault.address, kPage}, source)) die("copy_fully");
    ++served;
  }
}

template <typename Serve>
double timed_faults(const Region& region, Serve&& serve) {
  drop(region);
  std::jthread reader(serve);
  return bench::nanoseconds([&] {
    for (std::size_t at = 0; at < region.size(); at += kPage)
      static_cast<void>(*reinterpret_cast<volatile char*>(region.data() + at));
  });
}

bench::Comparison faults(const Descriptor& descriptor, std::size_t count, int repetitions) {
  const auto region = value_or_die(Region::create(descriptor, count * kPage));
  const std::vector<char> source(kPage, 's');
  return bench::compare(
      {.repetitions = repetitions, .units = static_cast<double>(count)},
      [&] { return timed_faults(region, [&] { serve_raw(descriptor.fd(), source.data(), count); }); },
      [&] { return timed_faults(region, [&] { serve_api(descriptor, source.data(), count); }); });
}

}  // namespace

int main() {
  const auto opened = Descriptor::open({.engine = EngineKind::kKernel});
  if (!opened) {
    std::printf("skipped: %s\n", opened.error().message().c_str());
    return 77;
  }
  bench::Table table("raw", "api");
  table.row("fault round trip, one reader", faults(*opened, 64, 601));
  table.row("COPY of 4 KiB", copies(*opened, 64 * kPage, kPage, 3001));
  table.row("COPY of 1 MiB", copies(*opened, 2 * kMiB, kMiB, 401));
  return 0;
}

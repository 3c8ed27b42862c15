// SPDX-License-Identifier: Apache-2.0
// Question: what does a fault cost when it is resolved in the faulting thread, against a reader
// thread on the kernel's engine? One page a fault, in order; the reader blocks in poll(2).
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "support/interleaved.h"
#include "userfault/memory.h"
#include "userfault/region.h"
#include "userfault/userfault.h"

namespace {

using namespace userfault;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kFaults = 64;
alignas(kPage) char source[kPage];

[[noreturn]] void die(const Error& error) {
  std::fprintf(stderr, "in_thread: %s\n", error.message().c_str());
  std::exit(1);
}

template <typename T>
T value_or_die(Result<T> result) {
  if (!result) die(result.error());
  return std::move(*result);
}

// Every page once. Dropping the pages is not on the clock.
double timed_pass(const Region& region) {
  if (const auto dropped = memory::advise(region.range(), MADV_DONTNEED); !dropped) die(dropped.error());
  return bench::nanoseconds([&] {
    for (std::size_t at = 0; at < region.size(); at += kPage)
      static_cast<void>(*reinterpret_cast<volatile char*>(region.data() + at));
  });
}

int fill_page(void*, int fd, const userfault_msg* fault) {
  userfault_copy copy{fault->arg.pagefault.address, reinterpret_cast<std::uintptr_t>(source), kPage, 0, 0};
  return userfault_ioctl(fd, USERFAULT_IOC_COPY, &copy) == 0;
}

class AcrossThreads {
 public:
  AcrossThreads()
      : descriptor_(value_or_die(Descriptor::open({.engine = EngineKind::kKernel}))),
        region_(value_or_die(Region::create(descriptor_, kFaults * kPage))),
        reader_([this](const std::stop_token& stop) { serve(stop); }) {}
  double pass() { return timed_pass(region_); }

 private:
  void serve(const std::stop_token& stop) {
    Message message;
    while (!stop.stop_requested()) {
      if (!value_or_die(descriptor_.wait(std::chrono::milliseconds(20)))) continue;
      if (value_or_die(descriptor_.read({&message, 1})).empty()) continue;
      if (const auto copied = descriptor_.copy_fully({std::get<Fault>(message).address, kPage}, source); !copied)
        die(copied.error());
    }
  }

  Descriptor descriptor_;
  Region region_;
  std::jthread reader_;
};

class InThread {
 public:
  explicit InThread(EngineKind engine)
      : descriptor_(value_or_die(Descriptor::open({.engine = engine, .required = feature::kSigbus}))),
        region_(value_or_die(Region::create(descriptor_, kFaults * kPage))) {
    if (const auto set = descriptor_.in_thread(fill_page); !set) die(set.error());
  }
  double pass() { return timed_pass(region_); }

 private:
  Descriptor descriptor_;
  Region region_;
};

}  // namespace

int main() {
  if (const auto probe = Descriptor::open({.engine = EngineKind::kKernel}); !probe) {
    std::printf("skipped: %s\n", probe.error().message().c_str());
    return 77;
  }
  std::memset(source, 's', sizeof source);
  AcrossThreads across;
  const bench::Plan plan{.repetitions = 301, .units = kFaults};
  bench::Table table("kernel, reader thread", "in thread");
  for (const EngineKind engine : {EngineKind::kKernel, EngineKind::kUser}) {
    if (const auto opened = Descriptor::open({.engine = engine, .required = feature::kSigbus}); !opened) {
      table.skipped(name_of(engine), opened.error().message().c_str());
      continue;
    }
    InThread in_thread(engine);
    table.row(engine == EngineKind::kKernel ? "fault, kernel's engine" : "fault, user engine",
              bench::compare(
                  plan, [&] { return across.pass(); }, [&] { return in_thread.pass(); }));
  }
  return 0;
}

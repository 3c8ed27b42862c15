// SPDX-License-Identifier: Apache-2.0
// What does the preload library cost a program that never opens a userfaultfd?
//
// The program is this one, started again as a child: without an argument's work (start-up), and with
// a loop that allocates, maps, unmaps and reads. Each is run with and without LD_PRELOAD in turns.
//
// And what does the filter for system calls that go past libc cost one that has opened it? A loop of
// reads through libc and one of raw system calls, with and without the filter.
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/interleaved.h"

namespace {

constexpr int kRounds = 20000;

// malloc beyond its mmap threshold, and the calls that the library stands before.
int work() {
  const int null = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  char byte = 0;
  unsigned sum = 0;
  for (int i = 0; i < kRounds; ++i) {
    void* small = std::malloc(static_cast<std::size_t>(i % 4000) + 16);
    void* large = std::malloc(std::size_t{256} << 10);
    if (::read(null, &byte, 1) == 1) sum += static_cast<unsigned>(byte);
    sum += small != nullptr && large != nullptr ? 1 : 0;
    std::free(small);
    std::free(large);
    void* mapping = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::munmap(mapping, 4096);
  }
  ::close(null);
  return sum == static_cast<unsigned>(kRounds) ? 0 : 1;
}

#if defined(__x86_64__)
long raw_read(int fd, char* byte) {
  long result = SYS_read;
  asm volatile("syscall" : "+a"(result) : "D"(fd), "S"(byte), "d"(1) : "rcx", "r11", "memory");
  return result;
}
#else
long raw_read(int fd, char* byte) {
  register long x8 asm("x8") = SYS_read;
  register long x0 asm("x0") = fd;
  register char* x1 asm("x1") = byte;
  register long x2 asm("x2") = 1;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
}
#endif

constexpr int kReads = 100000;

// Prints nanoseconds a read of one byte, through libc and not.
int read_under_filter() {
  const long opened = ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  char byte = 0;
  const double by_libc = userfault::bench::nanoseconds([&] {
    for (int i = 0; i < kReads; ++i)
      if (::read(zero, &byte, 1) != 1) std::exit(1);
  });
  const double raw = userfault::bench::nanoseconds([&] {
    for (int i = 0; i < kReads; ++i)
      if (raw_read(zero, &byte) != 1) std::exit(1);
  });
  std::printf("  %-10s through libc %6.0f ns, raw %6.0f ns\n", std::getenv("USERFAULT_TRAP") ? "no filter" : "filter",
              by_libc / kReads, raw / kReads);
  return opened >= 0 ? 0 : 1;
}

std::string beside(const char* name) {
  char self[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  const std::string path(self, length > 0 ? static_cast<std::size_t>(length) : 0);
  return path.substr(0, path.rfind('/')) + "/../lib/" + name;
}

void start(const char* argument, bool preload, const char* more = nullptr) {
  const std::string variable = "LD_PRELOAD=" + beside("libuserfault-preload.so");
  std::vector<char*> environment;
  if (preload) environment.push_back(const_cast<char*>(variable.c_str()));
  if (more != nullptr) environment.push_back(const_cast<char*>(more));
  std::string engine = "USERFAULT_ENGINE=user";
  environment.push_back(engine.data());
  environment.push_back(nullptr);
  char name[] = "preload_cost_bench";
  char* arguments[] = {name, const_cast<char*>(argument), nullptr};
  pid_t child = 0;
  int status = -1;
  if (::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environment.data()) != 0 ||
      ::waitpid(child, &status, 0) != child || status != 0) {
    std::fprintf(stderr, "preload_cost_bench: the child failed (status %d)\n", status);
    std::exit(1);
  }
}

void compare(const char* what, const char* argument, int repetitions) {
  std::vector<double> without;
  std::vector<double> with;
  for (int i = 0; i < repetitions; ++i) {
    without.push_back(userfault::bench::nanoseconds([&] { start(argument, false); }));
    with.push_back(userfault::bench::nanoseconds([&] { start(argument, true); }));
  }
  const double plain = userfault::bench::median(without);
  const double ours = userfault::bench::median(with);
  std::printf("%-12s %8.3f ms, preloaded %8.3f ms, ratio %.3f\n", what, plain / 1e6, ours / 1e6, ours / plain);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "nothing") return 0;
  if (argc > 1 && std::string(argv[1]) == "work") return work();
  if (argc > 1 && std::string(argv[1]) == "filter") return read_under_filter();
  if (::access(beside("libuserfault-preload.so").c_str(), R_OK) != 0) {
    std::fprintf(stderr, "preload_cost_bench: no preload library in this build\n");
    return 0;
  }
  compare("start-up", "nothing", 101);
  compare("allocations", "work", 15);
  std::printf("a read of one byte in a program that has opened a userfaultfd:\n");
  std::fflush(stdout);
  for (int i = 0; i < 3; ++i) {
    start("filter", true, "USERFAULT_TRAP=0");
    start("filter", true);
  }
  return 0;
}

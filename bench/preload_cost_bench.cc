// SPDX-License-Identifier: Apache-2.0
// What does the preload library cost a program that never opens a userfaultfd?
//
// The program is this one, started again as a child: without an argument's work (start-up), and with
// a loop that allocates, maps, unmaps and reads. Each is run with and without LD_PRELOAD in turns.
//
// And what does a call cost one that has opened it: of other descriptors, against the same without the
// library; and of the userfaultfd, against the same calls through libuserfault?
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <userfault/userfault.h>

#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
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

// ---- a program that has opened a userfaultfd: what a call costs, in nanoseconds ----

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 2000;

void must(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "preload_cost_bench: %s failed\n", what);
  std::exit(1);
}

// The median of some repetitions, since one may be interrupted.
template <typename Call>
void print(const char* what, int times, Call call) {
  std::vector<double> all;
  for (int repetition = 0; repetition < 9; ++repetition)
    all.push_back(userfault::bench::nanoseconds([&] {
                    for (int i = 0; i < times; ++i) must(call(i), what);
                  }) /
                  times);
  std::printf("%s %.1f\n", what, userfault::bench::median(all));
}

int open_by_call() { return static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)); }

void enable(int fd, void* memory, bool by_library) {
  userfault_api api{};
  api.api = USERFAULT_API;
  userfault_register range{};
  range.range.start = reinterpret_cast<std::uintptr_t>(memory);
  range.range.len = kPages * kPage;
  range.mode = USERFAULT_REGISTER_MODE_MISSING;
  const auto operate = [&](unsigned long request, void* argument) {
    return by_library ? ::userfault_ioctl(fd, request, argument) : ::ioctl(fd, request, argument);
  };
  must(operate(USERFAULT_IOC_API, &api) == 0, "UFFDIO_API");
  must(operate(USERFAULT_IOC_REGISTER, &range) == 0, "UFFDIO_REGISTER");
}

// Other descriptors of the program. "plain" opens none of ours, the others do.
int other_calls(bool opens) {
  if (opens) must(open_by_call() >= 0, "userfaultfd");
  const int zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  char byte = 0;
  print("read", 20000, [&](int) { return ::read(zero, &byte, 1) == 1; });
  print("write", 20000, [&](int) { return ::write(null, &byte, 1) == 1; });
  print("poll", 20000, [&](int) {
    pollfd entry{.fd = zero, .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) == 1;
  });
  print("dup+close", 10000, [&](int) { return ::close(::dup(zero)) == 0; });
  print("raw-read", 5000, [&](int) { return raw_read(zero, &byte) == 1; });
  return 0;
}

// A userfaultfd of the user engine, by ioctl(2) under the preload library or through libuserfault.
int our_calls(bool by_library) {
  void* const memory = ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const int fd = by_library ? ::userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK) : open_by_call();
  must(fd >= 0, "userfaultfd");
  enable(fd, memory, by_library);
  const auto operate = [&](unsigned long request, void* argument) {
    return by_library ? ::userfault_ioctl(fd, request, argument) : ::ioctl(fd, request, argument);
  };
  const auto start = reinterpret_cast<std::uintptr_t>(memory);
  print("wake", 5000, [&](int) {
    userfault_range range{};
    range.start = start;
    range.len = kPage;
    return operate(USERFAULT_IOC_WAKE, &range) == 0;
  });
  static char source[kPage];
  int next = 0;
  print("copy", kPages / 10, [&](int) {
    userfault_copy copy{};
    copy.dst = start + static_cast<std::size_t>(next++) * kPage;
    copy.src = reinterpret_cast<std::uintptr_t>(source);
    copy.len = kPage;
    return operate(USERFAULT_IOC_COPY, &copy) == 0;
  });
  return 0;
}

std::string beside(const char* name) {
  char self[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  const std::string path(self, length > 0 ? static_cast<std::size_t>(length) : 0);
  return path.substr(0, path.rfind('/')) + "/../lib/" + name;
}

// Runs this program again; what it prints.
std::string start(const char* argument, bool preload, const char* more = nullptr) {
  const std::string variable = "LD_PRELOAD=" + beside("libuserfault-preload.so");
  std::vector<char*> environment;
  if (preload) environment.push_back(const_cast<char*>(variable.c_str()));
  if (more != nullptr) environment.push_back(const_cast<char*>(more));
  std::string engine = "USERFAULT_ENGINE=user";
  environment.push_back(engine.data());
  environment.push_back(nullptr);
  char name[] = "preload_cost_bench";
  char* arguments[] = {name, const_cast<char*>(argument), nullptr};
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  pid_t child = 0;
  must(::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, arguments, environment.data()) == 0, "posix_spawn");
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string printed;
  char buffer[512];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    printed.append(buffer, static_cast<std::size_t>(got));
  ::close(ends[0]);
  int status = -1;
  must(::waitpid(child, &status, 0) == child && status == 0, argument);
  return printed;
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

// The same calls in two kinds of child, in turns.
struct Side {
  const char* argument;
  bool preload;
  const char* more = nullptr;
};

void compare_calls(const Side& first, const Side& second, int repetitions) {
  std::map<std::string, std::vector<double>> times[2];
  for (int i = 0; i < 2 * repetitions; ++i) {
    const Side& side = i % 2 == 0 ? first : second;
    std::istringstream printed(start(side.argument, side.preload, side.more));
    std::string name;
    for (double ns = 0; printed >> name >> ns;) times[i % 2][name].push_back(ns);
  }
  for (const auto& [name, all] : times[0]) {
    const double before = userfault::bench::median(all);
    const double after = userfault::bench::median(times[1][name]);
    std::printf("  %-10s %8.0f ns, then %8.0f ns, ratio %.2f\n", name.c_str(), before, after, after / before);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "nothing") return 0;
  if (argc > 1 && std::string(argv[1]) == "work") return work();
  if (argc > 1 && std::string(argv[1]) == "plain") return other_calls(false);
  if (argc > 1 && std::string(argv[1]) == "others") return other_calls(true);
  if (argc > 1 && std::string(argv[1]) == "library") return our_calls(true);
  if (argc > 1 && std::string(argv[1]) == "ours") return our_calls(false);
  if (::access(beside("libuserfault-preload.so").c_str(), R_OK) != 0) {
    std::fprintf(stderr, "preload_cost_bench: no preload library in this build\n");
    return 0;
  }
  compare("start-up", "nothing", 101);
  compare("allocations", "work", 15);
  std::printf("a program without the library, then one that has opened a userfaultfd under it (goal 1.3):\n");
  std::fflush(stdout);
  compare_calls({"plain", false}, {"others", true}, 7);
  std::printf("the same without the filter (--no-trap):\n");
  compare_calls({"plain", false}, {"others", true, "USERFAULT_TRAP=0"}, 5);
  std::printf("a program that never opens one (goal 1.1):\n");
  compare_calls({"plain", false}, {"plain", true}, 5);
  std::printf("UFFDIO calls through libuserfault, then by ioctl(2) under the library (goal 1.2):\n");
  compare_calls({"library", false}, {"ours", true}, 7);
  return 0;
}

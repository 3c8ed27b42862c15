// SPDX-License-Identifier: Apache-2.0
// What the user engine costs, as ratios against the kernel's in the same run.
//
// Every row does one thing on both engines in turns (support/interleaved.h). A fault across threads is
// measured with the two on different processors and with both on one: they are different questions
// (waking a processor, or switching between threads), and left to itself the scheduler changes its mind
// between two repetitions. docs/performance-user-engine.md has the numbers and what limits each.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/interleaved.h"
#include "userfault/userfault.h"

namespace {

using userfault::bench::compare;
using userfault::bench::Comparison;
using userfault::bench::median;
using userfault::bench::nanoseconds;
using userfault::bench::Plan;

constexpr std::size_t kPage = 4096;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "user_engine_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// The first two processors that this program may use; the same one twice where there is only one.
struct Processors {
  int first = -1;
  int second = -1;
};

Processors usable_processors() {
  static const Processors found = [] {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) give_up("sched_getaffinity");
    Processors processors;
    for (int cpu = 0; cpu < CPU_SETSIZE && processors.second < 0; ++cpu)
      if (CPU_ISSET(cpu, &set)) (processors.first < 0 ? processors.first : processors.second) = cpu;
    if (processors.second < 0) processors.second = processors.first;
    return processors;
  }();
  return found;
}

void pin(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  errno = pthread_setaffinity_np(thread, sizeof set, &set);
  if (errno != 0) give_up("pthread_setaffinity_np");
}

// A registered region and a thread that resolves its faults one page at a time; the last page is
// how the thread is told to end.
class Side {
 public:
  Side(userfault_engine engine, std::size_t pages, std::uint64_t mode, std::uint64_t features = 0)
      : pages_(pages), fd_(userfault_open(engine, O_CLOEXEC)), source_(std::size_t{1} << 20, 'x') {
    if (fd_ < 0) give_up("userfault_open");
    if (userfault_ioctl_api(fd_, features, nullptr, nullptr) != 0) give_up("UFFDIO_API");
    void* at = userfault_mmap(nullptr, (pages + 1) * kPage, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) give_up("mmap");
    data_ = static_cast<char*>(at);
    if (userfault_ioctl_register(fd_, data_, (pages + 1) * kPage, mode, nullptr) != 0) give_up("UFFDIO_REGISTER");
  }
  ~Side() {
    if (monitor_.joinable()) {
      touch(pages_);
      monitor_.join();
    }
    userfault_close(fd_);
    userfault_munmap(data_, (pages_ + 1) * kPage);
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  void start_monitor(int cpu) {
    monitor_ = std::thread([this] { serve(); });
    pin(monitor_.native_handle(), cpu);
  }
  void resolve_in_thread() {
    if (userfault_in_thread(fd_, in_thread, this) != 0) give_up("userfault_in_thread");
  }
  void touch(std::size_t page) const { *static_cast<volatile char*>(data_ + page * kPage) = 1; }
  void forget() const {
    if (userfault_madvise(data_, pages_ * kPage, MADV_DONTNEED) != 0) give_up("madvise");
  }
  void protect(bool on) const {
    if (userfault_ioctl_writeprotect(fd_, data_, pages_ * kPage, on ? USERFAULT_WRITEPROTECT_MODE_WP : 0) != 0)
      give_up("UFFDIO_WRITEPROTECT");
  }
  void copy(std::size_t page, std::size_t count) const {
    std::int64_t done = 0;
    if (userfault_ioctl_copy(fd_, data_ + page * kPage, source_.data(), count * kPage, 0, &done) != 0 &&
        errno != EEXIST)
      give_up("UFFDIO_COPY");
  }
  [[nodiscard]] std::size_t pages() const { return pages_; }
  [[nodiscard]] const char* data() const { return data_; }

 private:
  static int in_thread(void* context, int, const userfault_msg* fault) {
    const Side& side = *static_cast<Side*>(context);
    side.resolve(*fault);
    return 1;
  }
  void resolve(const userfault_msg& message) const {
    const std::size_t page = (message.arg.pagefault.address - reinterpret_cast<std::uint64_t>(data_)) / kPage;
    if ((message.arg.pagefault.flags & USERFAULT_PAGEFAULT_FLAG_WP) == 0) return copy(page, 1);
    if (userfault_ioctl_writeprotect(fd_, data_ + page * kPage, kPage, 0) != 0) give_up("UFFDIO_WRITEPROTECT");
  }
  void serve() {
    for (;;) {
      userfault_msg message;
      if (userfault_read(fd_, &message, sizeof message) != sizeof message) {
        if (errno == EINTR) continue;
        give_up("read");
      }
      resolve(message);
      if (message.arg.pagefault.address >= reinterpret_cast<std::uint64_t>(data_) + pages_ * kPage) return;
    }
  }

  std::size_t pages_;
  int fd_;
  char* data_ = nullptr;
  std::vector<char> source_;
  std::thread monitor_;
};

// ---- what is measured; each returns nanoseconds ----

double p50_of_faults(const Side& side) {
  side.forget();
  std::vector<double> each;
  for (std::size_t page = 0; page < side.pages(); ++page) each.push_back(nanoseconds([&] { side.touch(page); }));
  return median(each);
}

double p50_of_protected_writes(const Side& side) {
  for (std::size_t page = 0; page < side.pages(); ++page) side.touch(page);
  side.protect(true);
  std::vector<double> each;
  for (std::size_t page = 0; page < side.pages(); ++page) each.push_back(nanoseconds([&] { side.touch(page); }));
  return median(each);
}

double random_faults(const Side& side) {
  side.forget();
  // An odd step walks every page of a power of two, far apart each time.
  constexpr std::size_t kFaults = 4096;
  return nanoseconds([&] {
    for (std::size_t i = 0; i < kFaults; ++i) side.touch(i * 40503 * 64 % side.pages() + i % 64);
  });
}

double copy_in_pieces(const Side& side) {
  side.forget();
  constexpr std::size_t kPiece = (std::size_t{1} << 20) / kPage;
  return nanoseconds([&] {
    for (std::size_t page = 0; page < side.pages(); page += kPiece) side.copy(page, kPiece);
  });
}

double copy_and_touch(const Side& side) {
  const double copied = copy_in_pieces(side);
  return copied + nanoseconds([&] {
           for (std::size_t page = 0; page < side.pages(); ++page) side.touch(page);
         });
}

// Filled anew each time: where its pages happen to lie in memory decides a tenth of it.
double read_all(const Side& side) {
  static_cast<void>(copy_and_touch(side));
  std::uint64_t sum = 0;
  const double took = nanoseconds([&] {
    for (std::size_t at = 0; at < side.pages() * kPage; at += 64)
      sum += static_cast<volatile const unsigned char*>(static_cast<const void*>(side.data()))[at];
  });
  return sum == 0 ? took + 1 : took;
}

void row(const char* question, const Comparison& result, const char* goal) {
  std::printf("| %s | %.0f ns | %.0f ns | %.2f | %s |\n", question, result.first_ns, result.second_ns, result.ratio,
              goal);
  std::fflush(stdout);
}

constexpr std::uint64_t kMissing = USERFAULT_REGISTER_MODE_MISSING;
constexpr auto kKernel = USERFAULT_ENGINE_KERNEL;
constexpr auto kUser = USERFAULT_ENGINE_USER;

template <typename Measure>
void pair(const char* question, const char* goal, Plan plan, const Side& kernel, const Side& user, Measure measure) {
  row(question,
      compare(
          plan, [&] { return measure(kernel); }, [&] { return measure(user); }),
      goal);
}

// Rows for the two on different processors, and on one.
template <typename Measure>
void pair_across(const char* question, const char* goal, std::size_t pages, std::uint64_t mode, Plan plan,
                 Measure measure) {
  const auto [first, second] = usable_processors();
  for (const bool apart : {true, false}) {
    if (apart && first == second) continue;
    Side kernel(kKernel, pages, mode);
    Side user(kUser, pages, mode);
    kernel.start_monitor(apart ? second : first);
    user.start_monitor(apart ? second : first);
    const std::string name = std::string(question) + (apart ? ", two processors" : ", one processor");
    pair(name.c_str(), goal, plan, kernel, user, measure);
  }
}

void in_thread() {
  const auto [first, second] = usable_processors();
  for (const bool apart : {true, false}) {
    if (apart && first == second) continue;
    Side kernel(kKernel, 512, kMissing);
    Side user(kUser, 512, kMissing);
    kernel.start_monitor(apart ? second : first);
    user.resolve_in_thread();
    pair(apart ? "fault resolved in the thread, p50, against the kernel's across threads on two processors"
               : "the same, against the kernel's on one processor",
         "1.00", {.repetitions = 31}, kernel, user, p50_of_faults);
  }
}

void bulk() {
  constexpr std::size_t kPages = (std::size_t{32} << 20) / kPage;
  Side kernel(kKernel, kPages, kMissing);
  Side user(kUser, kPages, kMissing);
  const Plan plan{.repetitions = 15, .warm_up = 1, .units = kPages};
  pair("COPY in 1 MiB pieces, each page", "2.00", plan, kernel, user, copy_in_pieces);
  pair("the same and the first touch", "none", plan, kernel, user, copy_and_touch);
  pair("reading it all afterwards, each page", "1.00", {.repetitions = 31, .warm_up = 1, .units = kPages}, kernel, user,
       read_all);
}

}  // namespace

int main() {
  const int fd = userfault_open(kKernel, O_CLOEXEC);
  if (fd < 0) {
    std::printf("skipped: the kernel refuses userfaultfd: %s\n", std::strerror(errno));
    return 0;
  }
  userfault_close(fd);
  std::printf("| question | kernel | user | ratio | goal |\n|---|---:|---:|---:|---:|\n");
  // The engine counts the processors that it may use when it is opened first: before this thread is pinned.
  const int first = userfault_open(kUser, O_CLOEXEC);
  if (first < 0) give_up("userfault_open");
  userfault_close(first);
  pin(pthread_self(), usable_processors().first);
  constexpr std::uint64_t kProtected = kMissing | USERFAULT_REGISTER_MODE_WP;
  constexpr std::size_t kGiB = (std::size_t{1} << 30) / kPage;
  pair_across("fault across threads, p50", "1.25", 512, kMissing, {.repetitions = 31}, p50_of_faults);
  in_thread();
  pair_across("write-protect fault across threads, p50", "1.25", 512, kProtected, {.repetitions = 31},
              p50_of_protected_writes);
  pair_across("random faults over 1 GiB, each", "2.00", kGiB, kMissing, {.repetitions = 9, .warm_up = 1, .units = 4096},
              random_faults);
  bulk();
  return 0;
}

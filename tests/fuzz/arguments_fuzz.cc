// SPDX-License-Identifier: Apache-2.0
// Random arguments to every operation of the C interface: none may crash or hang the process, and
// every answer has to be one that the manual pages know.
//
// The addresses come from an arena far from everything else that is mapped, from its edges, and
// from where nothing can be mapped: an operation that succeeds by accident on the test's own heap
// would prove nothing. The arena is never touched, and descriptors are opened with
// USERFAULT_USER_MODE_ONLY, so that a copy whose source is missing gives EFAULT and waits for nobody.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "userfault/userfault.h"

namespace {

// No range, not even the longest from the lowest address, may reach a sanitizer's shadow: a write-protected
// shadow page stops the very code that would resolve it.
#ifdef __SANITIZE_THREAD__
constexpr std::uintptr_t kArena = std::uintptr_t{1} << 38;  // what ThreadSanitizer leaves to programs at the low end
#else
constexpr std::uintptr_t kArena = std::uintptr_t{1} << 46;  // above AddressSanitizer's shadow, below all mappings
#endif
constexpr std::uint64_t kLongest = std::uint64_t{1} << 30;
constexpr std::size_t kArenaPages = 64;
const auto kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

class Fuzzer {
 public:
  Fuzzer(userfault_engine engine, std::uint64_t seed) : engine_(engine), random_(seed) {
    map_arena();
    open();
  }

  // False with a line on standard error when an answer is not one of the contract's.
  [[nodiscard]] bool round() {
    if (one_in(64)) map_arena();
    if (one_in(256)) open();
    switch (pick(14)) {
      case 0: return api();
      case 1:
      case 2: return registers();
      case 3: return plain(USERFAULT_IOC_UNREGISTER);
      case 4: return plain(USERFAULT_IOC_WAKE);
      case 5: return fills<userfault_copy>(USERFAULT_IOC_COPY, &userfault_copy::copy);
      case 6: return fills<userfault_move>(USERFAULT_IOC_MOVE, &userfault_move::move);
      case 7: return in_place<userfault_zeropage>(USERFAULT_IOC_ZEROPAGE, &userfault_zeropage::zeropage);
      case 8: return in_place<userfault_continue>(USERFAULT_IOC_CONTINUE, &userfault_continue::mapped);
      case 9: return in_place<userfault_poison>(USERFAULT_IOC_POISON, &userfault_poison::updated);
      case 10: return protects();
      case 11: return unknown_request();
      case 12: return bad_argument();
      default: return reads();
    }
  }

  // Random input that is always refused would test nothing but the checks at the door.
  [[nodiscard]] bool reached_everything() const {
    for (const char* what : {"API", "REGISTER", "UNREGISTER", "WAKE", "COPY", "ZEROPAGE", "WRITEPROTECT"})
      if (!succeeded_.contains(what)) return std::fprintf(stderr, "%s never succeeded\n", what), false;
    return true;
  }

 private:
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  bool one_in(std::uint64_t n) { return pick(n) == 0; }

  void map_arena() {
    const int kind = one_in(2) ? MAP_SHARED : MAP_PRIVATE;
    void* wanted = reinterpret_cast<void*>(kArena);
    if (userfault_mmap(wanted, kArenaPages * kPage, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
        wanted)
      std::abort();
    // A hole and a change of protection inside.
    if (one_in(2)) userfault_munmap(reinterpret_cast<void*>(kArena + 40 * kPage), kPage);
    if (one_in(2)) userfault_mprotect(reinterpret_cast<void*>(kArena + 20 * kPage), kPage, PROT_READ);
  }

  void open() {
    if (fd_ >= 0) userfault_close(fd_);
    fd_ = userfault_open(engine_, O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY);
    if (fd_ < 0) std::abort();
    // No layout events: nobody reads them while the arena is mapped anew. Sometimes no handshake.
    if (!one_in(16)) userfault_ioctl_api(fd_, 0, nullptr, nullptr);
  }

  std::uint64_t odd_number() {
    constexpr std::array<std::uint64_t, 12> kEdges{
        0, 1, 4095, 4096, 4097, 1u << 21, 1ull << 29, 1ull << 47, (1ull << 47) - 4096, 1ull << 63, ~4095ull, ~0ull};
    return one_in(4) ? random_() | (1ull << 63) : kEdges[pick(kEdges.size())];
  }
  std::uint64_t address() {
    if (one_in(6)) return odd_number();
    const std::uint64_t page = kArena + pick(kArenaPages + 2) * kPage;
    return one_in(12) ? page + pick(kPage) : page;
  }
  std::uint64_t length() {
    if (one_in(8)) return odd_number() % kLongest | (one_in(4) ? 1ull << 63 : 0);
    return pick(12) * kPage + (one_in(12) ? pick(kPage) : 0);
  }
  std::uint64_t mode() { return one_in(8) ? random_() : pick(8); }
  std::uint64_t source() {
    if (one_in(4)) return address();
    return reinterpret_cast<std::uintptr_t>(buffer_.data()) + pick(kPage);
  }

  bool wrong(const char* what, int error, std::int64_t done = 0) {
    std::fprintf(stderr, "%s: %s (%d), output %lld\n", what, std::strerror(error), error, static_cast<long long>(done));
    return false;
  }
  bool known(const char* what, int result, int error) {
    if (result == 0) succeeded_.insert(what);
    constexpr std::array kKnown{EINVAL, EFAULT, EBUSY, EEXIST, EAGAIN, ENOENT, ENOMEM, EPERM, ESRCH, ENOSPC};
    if (result == 0 || (result == -1 && std::ranges::find(kKnown, error) != kKnown.end())) return true;
    return wrong(what, error);
  }
  // What went in as zero comes out as the count, a part of it, or the error.
  bool consistent(const char* what, int result, int error, std::uint64_t asked, std::int64_t done) {
    if (!known(what, result, error)) return false;
    if (result == 0) return static_cast<std::uint64_t>(done) == asked || wrong(what, 0, done);
    const auto bytes = static_cast<std::uint64_t>(done);
    if (done > 0) return (error == EAGAIN && bytes < asked && bytes % kPage == 0) || wrong(what, error, done);
    return done == 0 || done == -error || wrong(what, error, done);
  }

  bool api() {
    userfault_api argument{one_in(4) ? random_() : USERFAULT_API, one_in(2) ? random_() : pick(1 << 17), random_()};
    // Event features would make the next mapping of the arena wait for a reader.
    constexpr std::uint64_t kEvents = USERFAULT_FEATURE_EVENT_FORK | USERFAULT_FEATURE_EVENT_REMAP |
                                      USERFAULT_FEATURE_EVENT_REMOVE | USERFAULT_FEATURE_EVENT_UNMAP;
    argument.features &= ~kEvents;
    errno = 0;
    const int result = userfault_ioctl(fd_, USERFAULT_IOC_API, &argument);
    return known("API", result, errno);
  }
  bool registers() {
    userfault_register argument{{address(), length()}, mode(), random_()};
    const int result = userfault_ioctl(fd_, USERFAULT_IOC_REGISTER, &argument);
    return known("REGISTER", result, errno);
  }
  bool plain(unsigned long request) {
    userfault_range argument{address(), length()};
    const int result = userfault_ioctl(fd_, request, &argument);
    return known(request == USERFAULT_IOC_WAKE ? "WAKE" : "UNREGISTER", result, errno);
  }
  bool protects() {
    userfault_writeprotect argument{{address(), length()}, mode()};
    const int result = userfault_ioctl(fd_, USERFAULT_IOC_WRITEPROTECT, &argument);
    return known("WRITEPROTECT", result, errno);
  }
  template <typename Argument>
  bool fills(unsigned long request, std::int64_t Argument::*done) {
    Argument argument{};
    argument.dst = address();
    argument.src = request == USERFAULT_IOC_MOVE ? address() : source();
    argument.len = length();
    argument.mode = mode();
    const int result = userfault_ioctl(fd_, request, &argument);
    return consistent(request == USERFAULT_IOC_MOVE ? "MOVE" : "COPY", result, errno, argument.len, argument.*done);
  }
  template <typename Argument>
  bool in_place(unsigned long request, std::int64_t Argument::*done) {
    Argument argument{};
    argument.range = {address(), length()};
    argument.mode = mode();
    const int result = userfault_ioctl(fd_, request, &argument);
    return consistent(request == USERFAULT_IOC_ZEROPAGE ? "ZEROPAGE" : "CONTINUE or POISON", result, errno,
                      argument.range.len, argument.*done);
  }
  bool unknown_request() {
    std::array<std::uint64_t, 64> argument{};
    // Of our type but no operation, or nothing at all; never a request that sockets or files know.
    const unsigned long request = one_in(2) ? 0xAA00ul | (0x10 + pick(0x20)) : (3ul << 30) | 0xAA00ul | pick(256);
    errno = 0;
    const int result = userfault_ioctl(fd_, request, argument.data());
    return (result == -1 && errno == EINVAL) || wrong("unknown request", errno);
  }
  bool bad_argument() {
    constexpr std::array kRequests{USERFAULT_IOC_REGISTER, USERFAULT_IOC_UNREGISTER,   USERFAULT_IOC_WAKE,
                                   USERFAULT_IOC_COPY,     USERFAULT_IOC_ZEROPAGE,     USERFAULT_IOC_CONTINUE,
                                   USERFAULT_IOC_POISON,   USERFAULT_IOC_WRITEPROTECT, USERFAULT_IOC_MOVE};
    constexpr std::array<std::uintptr_t, 4> kNowhere{0, 8, std::uintptr_t{1} << 45, ~std::uintptr_t{7}};
    errno = 0;
    const int result = userfault_ioctl(fd_, kRequests[pick(kRequests.size())],
                                       reinterpret_cast<void*>(kNowhere[pick(kNowhere.size())]));
    return (result == -1 && (errno == EFAULT || errno == EINVAL)) || wrong("bad argument", errno);
  }
  bool reads() {
    std::array<userfault_msg, 4> messages;
    errno = 0;
    const ssize_t bytes = userfault_read(fd_, messages.data(), pick(sizeof messages + 1));
    return (bytes == -1 && (errno == EAGAIN || errno == EINVAL)) || wrong("read", errno, bytes);
  }

  userfault_engine engine_;
  std::mt19937_64 random_;
  int fd_ = -1;
  std::set<std::string> succeeded_;
  std::vector<char> buffer_ = std::vector<char>(16 * kPage, 's');
};

int fuzz(userfault_engine engine, std::uint64_t seed, std::chrono::seconds time) {
  Fuzzer fuzzer(engine, seed);
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end)
    for (int i = 0; i < 1000; ++i)
      if (!fuzzer.round()) return 1;
  return fuzzer.reached_everything() ? 0 : 2;
}

class Arguments : public testing::TestWithParam<userfault_engine> {};

TEST_P(Arguments, NeitherCrashNorHangNorSurprise) {
  const int probe = userfault_open(GetParam(), O_CLOEXEC | O_NONBLOCK | USERFAULT_USER_MODE_ONLY);
  if (probe < 0) GTEST_SKIP() << "the engine does not open here: " << std::strerror(errno);
  userfault_close(probe);
  const std::uint64_t seed = from_environment("USERFAULT_FUZZ_SEED", std::random_device{}());
  const std::uint64_t seconds = from_environment("USERFAULT_FUZZ_SECONDS", 2);
  std::printf("seed %llu (USERFAULT_FUZZ_SEED repeats it)\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  // A child, so that a hang ends (SIGALRM) and a crash is told from a failure.
  const pid_t child = fork();
  if (child == 0) {
    alarm(static_cast<unsigned>(seconds) + 30);
    _exit(fuzz(GetParam(), seed, std::chrono::seconds(seconds)));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status << ", seed " << seed;
}

INSTANTIATE_TEST_SUITE_P(, Arguments, testing::Values(USERFAULT_ENGINE_KERNEL, USERFAULT_ENGINE_USER),
                         [](const auto& parameter) {
                           return parameter.param == USERFAULT_ENGINE_KERNEL ? "kernel" : "user";
                         });

}  // namespace

// SPDX-License-Identifier: Apache-2.0
// In-thread handlers of both engines, replaced and registered for while other threads fault: a fault
// meets one handler with its own context, and there is no moment without one. Each race runs in a
// child, because what is met without a handler ends in SIGBUS.
#include <fcntl.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "api_support.h"
#include "bounded.h"
#include "userfault/userfault.h"

namespace userfault::test {
namespace {

// A handler that fills with its letter, and knows which context is its own.
struct Side {
  char letter;
  alignas(4096) std::array<char, 4096> contents{};
  explicit Side(char with) : letter(with) { contents.fill(with); }
};
Side side_a('a');
Side side_b('b');
std::atomic<int> strangers{0};
std::atomic<int> calls{0};

int fill_from(const Side& side, int fd, const userfault_msg* fault) {
  ++calls;
  userfault_copy copy{fault->arg.pagefault.address & ~(kPage - 1),
                      reinterpret_cast<std::uintptr_t>(side.contents.data()), kPage, 0, 0};
  return userfault_ioctl(fd, USERFAULT_IOC_COPY, &copy) == 0 || errno == EEXIST;
}

int run_a(void* context, int fd, const userfault_msg* fault) {
  if (context != &side_a) ++strangers;
  return fill_from(side_a, fd, fault);
}
int run_b(void* context, int fd, const userfault_msg* fault) {
  if (context != &side_b) ++strangers;
  return fill_from(side_b, fd, fault);
}

class InThreadRace : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    if (!IsSkipped() && !available_.has(feature::kSigbus)) GTEST_SKIP() << lacks(feature::kSigbus);
  }
  // In a child, where nothing else has been opened.
  [[nodiscard]] static int open_sigbus(const Complaint& complaint) {
    const int fd = userfault_open(GetParam() == EngineKind::kUser ? USERFAULT_ENGINE_USER : USERFAULT_ENGINE_KERNEL,
                                  O_CLOEXEC | O_NONBLOCK);
    complaint.unless(fd >= 0, "open");
    complaint.unless(userfault_ioctl_api(fd, USERFAULT_FEATURE_SIGBUS, nullptr, nullptr) == 0, "handshake");
    return fd;
  }
};
USERFAULT_ON_BOTH_ENGINES(InThreadRace);

constexpr std::size_t kPages = 1024;
constexpr int kRounds = 30;

char* map_pages() {
  return static_cast<char*>(
      ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

// What a thread finds, page by page, from another place on in each thread.
template <typename Check>
void read_all(const char* memory, std::size_t from, Check check) {
  for (std::size_t i = 0; i < kPages; ++i)
    check(*static_cast<const volatile char*>(memory + (from + i) % kPages * kPage));
}

void replace_while_others_fault(const Complaint& complaint, int fd) {
  complaint.unless(userfault_in_thread(fd, run_a, &side_a) == 0, "setting the first handler");
  char* memory = map_pages();
  complaint.unless(userfault_ioctl_register(fd, memory, kPages * kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) == 0,
                   "register");
  std::atomic<bool> stop{false};
  std::thread replacer([&] {
    for (int i = 0; !stop.load(); ++i) {
      const int set = i % 2 == 0 ? userfault_in_thread(fd, run_b, &side_b) : userfault_in_thread(fd, run_a, &side_a);
      complaint.unless(set == 0, "replacing the handler");
      userfault_ioctl_wake(fd, memory, kPages * kPage);
    }
  });
  for (int round = 0; round < kRounds; ++round) {
    std::thread readers[2];
    for (std::size_t i = 0; i < 2; ++i)
      readers[i] = std::thread([&, i] {
        read_all(memory, i * kPages / 2,
                 [&](char found) { complaint.unless(found == 'a' || found == 'b', "a page that no handler filled"); });
      });
    for (std::thread& reader : readers) reader.join();
    complaint.unless(userfault_madvise(memory, kPages * kPage, MADV_DONTNEED) == 0, "madvise");
  }
  stop = true;
  replacer.join();
  complaint.unless(strangers == 0, "a handler was called with the other one's context");
  complaint.unless(calls != 0, "no handler was called");
}

TEST_P(InThreadRace, ReplacedWhileOthersFault) {
  EXPECT_EQ(
      ending_of([](const Complaint& complaint) { replace_while_others_fault(complaint, open_sigbus(complaint)); }), "");
}

// Without FEATURE_SIGBUS a fault that meets no handler waits, so that the program goes on and says how
// often a handler met the other one's context.
void replace_and_wake(const Complaint& complaint) {
  const int fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | O_NONBLOCK);
  complaint.unless(fd >= 0 && userfault_ioctl_api(fd, 0, nullptr, nullptr) == 0, "open");
  replace_while_others_fault(complaint, fd);
}

TEST(UserInThreadRace, HandlerMeetsItsOwnContext) { EXPECT_EQ(ending_of(replace_and_wake), ""); }

// A page that was read before the registration is there and reads as zero; one that was not is missing
// from the moment on where REGISTER did its work, which is before it returns. In pieces, so that there
// are many such moments, each with the reader close by.
constexpr std::size_t kPiece = 32;

void register_under_a_reader(const Complaint& complaint, int fd) {
  complaint.unless(userfault_in_thread(fd, run_a, &side_a) == 0, "setting the handler");
  for (int round = 0; round < 2 * kRounds; ++round) {
    char* memory = map_pages();
    std::atomic<std::size_t> registering{0};
    std::thread reader([&] {
      for (std::size_t page = 0; page < kPages; ++page) {
        while (registering.load() < page / kPiece) std::this_thread::yield();
        const char found = *static_cast<const volatile char*>(memory + page * kPage);
        complaint.unless(found == 0 || found == 'a', "a page that the handler did not fill");
      }
    });
    for (std::size_t piece = 0; piece < kPages / kPiece; ++piece) {
      registering = piece;
      complaint.unless(userfault_ioctl_register(fd, memory + piece * kPiece * kPage, kPiece * kPage,
                                                USERFAULT_REGISTER_MODE_MISSING, nullptr) == 0,
                       "register");
    }
    reader.join();
    complaint.unless(userfault_munmap(memory, kPages * kPage) == 0, "munmap");
  }
}

TEST_P(InThreadRace, RegisteredWhileAnotherThreadReads) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) { register_under_a_reader(complaint, open_sigbus(complaint)); }),
            "");
}

}  // namespace
}  // namespace userfault::test

// SPDX-License-Identifier: Apache-2.0
// A descriptor of the user engine that is closed under threads which use it, while the next one is
// opened at once: what the old one's threads still do must not reach the new one.
#include <atomic>
#include <cerrno>
#include <thread>

#include "bounded.h"
#include "user_support.h"

namespace userfault::test {
namespace {

// The race is for the moment between the close and the woken thread's next look.
constexpr int kRounds = 200;

int open_one(int flags, std::uint64_t features) {
  const int fd = userfault_open(USERFAULT_ENGINE_USER, O_CLOEXEC | flags);
  return fd >= 0 && userfault_ioctl_api(fd, features, nullptr, nullptr) == 0 ? fd : -1;
}

char* map_pages(std::size_t count) {
  void* at = ::mmap(nullptr, count * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at == MAP_FAILED ? nullptr : static_cast<char*>(at);
}

// A fault on the new descriptor is announced, read and resolved as on any other.
void serve_one_fault(const Complaint& complaint, int fd, char* page) {
  std::atomic<int> seen{0};
  std::thread toucher([&] { seen = *static_cast<volatile char*>(page); });
  complaint.unless(wait_readable(fd, 5000), "poll(2) does not report the first fault of the new descriptor");
  userfault_msg message{};
  complaint.unless(userfault_read(fd, &message, sizeof message) == sizeof message, "the fault cannot be read");
  alignas(4096) static char source[kPage];
  source[0] = 7;
  complaint.unless(userfault_ioctl_copy(fd, page, source, kPage, 0, nullptr) == 0, "COPY on the new descriptor");
  toucher.join();
  complaint.unless(seen == 7, "the page holds something else");
}

void close_under_a_reader(const Complaint& complaint) {
  const int old_fd = open_one(0, 0);
  char* page = map_pages(1);
  std::atomic<pid_t> tid{0};
  std::atomic<bool> ended{false};
  ssize_t got = 0;
  int error = 0;
  std::thread reader([&] {
    userfault_msg message{};
    tid = thread_number();
    got = userfault_read(old_fd, &message, sizeof message);
    error = errno;
    ended = true;
  });
  complaint.unless(comes_to_sleep(tid), "the reader does not block");
  complaint.unless(userfault_close(old_fd) == 0, "close");
  const int fd = open_one(O_NONBLOCK, 0);
  complaint.unless(fd >= 0, "the second open");
  complaint.unless(userfault_ioctl_register(fd, page, kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) == 0,
                   "register");
  serve_one_fault(complaint, fd, page);
  complaint.unless(comes_true([&] { return ended.load(); }), "the reader of the closed descriptor stays");
  reader.join();
  complaint.unless(got < 0, "the reader of the closed descriptor got a message of the next one");
  complaint.unless(error == EBADF, "the reader of the closed descriptor fails with something else than EBADF");
  complaint.unless(userfault_close(fd) == 0, "close");
  userfault_munmap(page, kPage);
}

TEST(UserClose, ReaderOfAClosedDescriptorHasNothingToDoWithTheNextOne) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              for (int i = 0; i < kRounds; ++i) close_under_a_reader(complaint);
            }),
            "");
}

// Whoever waits for an event to be read counts as a layout change under way, which refuses COPY.
void close_under_an_unmap(const Complaint& complaint) {
  const int old_fd = open_one(O_NONBLOCK, USERFAULT_FEATURE_EVENT_UNMAP);
  char* unmapped = map_pages(1);
  char* page = map_pages(1);
  complaint.unless(userfault_ioctl_register(old_fd, unmapped, kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) == 0,
                   "register");
  std::atomic<pid_t> tid{0};
  std::atomic<bool> ended{false};
  std::thread unmapper([&] {
    tid = thread_number();
    complaint.unless(userfault_munmap(unmapped, kPage) == 0, "munmap");
    ended = true;
  });
  complaint.unless(comes_to_sleep(tid), "munmap does not wait");
  complaint.unless(wait_readable(old_fd), "poll(2) does not report the event");
  complaint.unless(userfault_close(old_fd) == 0, "close");
  const int fd = open_one(O_NONBLOCK, 0);
  complaint.unless(fd >= 0, "the second open");
  complaint.unless(userfault_ioctl_register(fd, page, kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) == 0,
                   "register");
  complaint.unless(comes_true([&] { return ended.load(); }), "munmap goes on waiting on a closed descriptor");
  unmapper.join();
  alignas(4096) static char source[kPage];
  complaint.unless(userfault_ioctl_copy(fd, page, source, kPage, 0, nullptr) == 0,
                   "COPY on the new descriptor is refused for a change that was the old one's");
  complaint.unless(userfault_close(fd) == 0, "close");
  userfault_munmap(page, kPage);
}

TEST(UserClose, UnmapThatWaitsOnAClosedDescriptorHasNothingToDoWithTheNextOne) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              for (int i = 0; i < kRounds; ++i) close_under_an_unmap(complaint);
            }),
            "");
}

}  // namespace
}  // namespace userfault::test

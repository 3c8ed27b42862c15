// SPDX-License-Identifier: Apache-2.0
// Threads that leave a blocking read of the user engine by another way than its return: while a
// reader blocks, the doorbell need not ring for what it will take, so one that is gone must not count.
#include <setjmp.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "bounded.h"
#include "support/sanitizers.h"
#include "user_support.h"

namespace userfault::test {
namespace {

sigjmp_buf way_out;
std::atomic<pid_t> reader_tid{0};

class UserReader : public testing::Test {
 protected:
  void SetUp() override {
    if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
    reader_tid = 0;
  }
};

void make_blocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK); }
void make_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

// One thread blocks in read and is taken out of it by siglongjmp; it lives on until `release`.
class Jumper {
 public:
  Jumper(const Complaint& complaint, int fd) {
    struct sigaction action {};
    action.sa_handler = [](int) { siglongjmp(way_out, 1); };
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGUSR1, &action, nullptr);
    thread_ = std::thread([this, fd] {
      if (sigsetjmp(way_out, 1) == 0) {
        userfault_msg message{};
        reader_tid = thread_number();
        static_cast<void>(userfault_read(fd, &message, sizeof message));
      }
      left_ = true;
      left_.notify_all();
      released_.wait(false);
    });
    complaint.unless(comes_to_sleep(reader_tid), "the reader does not block");
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    complaint.unless(comes_true([this] { return left_.load(); }), "the reader does not leave");
  }
  ~Jumper() {
    released_ = true;
    released_.notify_all();
    thread_.join();
  }
  Jumper(const Jumper&) = delete;
  Jumper& operator=(const Jumper&) = delete;

 private:
  std::thread thread_;
  std::atomic<bool> left_{false};
  std::atomic<bool> released_{false};
};

void poll_serves(const Complaint& complaint, const Served& served) {
  make_nonblocking(served.fd);
  std::thread toucher([&] { complaint.unless(served.content(0) == Content::kPattern, "wrong content"); });
  complaint.unless(wait_readable(served.fd, 5000), "poll(2) does not report a fault after a reader was left");
  userfault_msg message{};
  complaint.unless(userfault_read(served.fd, &message, sizeof message) == sizeof message, "read");
  complaint.unless(served.copy(0) == 0, "COPY");
  toucher.join();
}

// Both faults have to be read, and each is one that a reader who sleeps has to be woken for.
void another_reader_serves(const Complaint& complaint, const Served& served) {
  std::atomic<pid_t> tid{0};
  std::atomic<int> read{0};
  std::thread reader([&] {
    for (std::size_t i = 0; i < 2; ++i) {
      userfault_msg message{};
      tid = thread_number();
      complaint.unless(userfault_read(served.fd, &message, sizeof message) == sizeof message, "read");
      ++read;
      complaint.unless(served.copy(served.index_of(message.arg.pagefault.address)) == 0, "COPY");
    }
  });
  for (std::size_t i = 0; i < 2; ++i) {
    complaint.unless(comes_to_sleep(tid), "the second reader does not block");
    complaint.unless(served.content(i) == Content::kPattern, "wrong content");
  }
  reader.join();
}

TEST_F(UserReader, PollReportsAFaultAfterAReaderLeftBySiglongjmp) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              const Served served(1);
              make_blocking(served.fd);
              const Jumper jumper(complaint, served.fd);
              poll_serves(complaint, served);
            }),
            "");
}

TEST_F(UserReader, ReadAndPollGoOnAfterThreeReadersLeft) {
  EXPECT_EQ(ending_of([](const Complaint& complaint) {
              const Served served(3);
              make_blocking(served.fd);
              for (int i = 0; i < 3; ++i) {
                reader_tid = 0;
                const Jumper jumper(complaint, served.fd);
              }
              another_reader_serves(complaint, served);
              make_nonblocking(served.fd);
              std::thread toucher([&] { static_cast<void>(served.content(2)); });
              complaint.unless(wait_readable(served.fd, 5000), "poll(2) does not report a fault");
              complaint.unless(served.copy(2) == 0, "COPY");
              toucher.join();
            }),
            "");
}

TEST_F(UserReader, AnotherReaderGetsTheMessageAfterOneLeftBySiglongjmp) {
  EXPECT_EQ(ending_of(
                [](const Complaint& complaint) {
                  const Served served(2);
                  make_blocking(served.fd);
                  const Jumper jumper(complaint, served.fd);
                  another_reader_serves(complaint, served);
                },
                std::chrono::seconds(10)),
            "");
}

void* read_for_ever(void* fd) {
  ::pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
  userfault_msg message{};
  reader_tid = thread_number();
  static_cast<void>(userfault_read(*static_cast<int*>(fd), &message, sizeof message));
  return nullptr;
}

TEST_F(UserReader, PollReportsAFaultAfterAReaderWasCancelled) {
  if (kAddressSanitizer) GTEST_SKIP() << "ASan keeps the stack of a thread that is cancelled in a call for in use";
  EXPECT_EQ(ending_of(
                [](const Complaint& complaint) {
                  const Served served(1);
                  make_blocking(served.fd);
                  int fd = served.fd;
                  pthread_t reader;
                  complaint.unless(::pthread_create(&reader, nullptr, read_for_ever, &fd) == 0, "pthread_create");
                  complaint.unless(comes_to_sleep(reader_tid), "the reader does not block");
                  complaint.unless(::pthread_cancel(reader) == 0, "pthread_cancel");
                  void* result = nullptr;
                  complaint.unless(::pthread_join(reader, &result) == 0 && result == PTHREAD_CANCELED, "pthread_join");
                  poll_serves(complaint, served);
                },
                std::chrono::seconds(10)),
            "");
}

}  // namespace
}  // namespace userfault::test

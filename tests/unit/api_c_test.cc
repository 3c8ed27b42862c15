// SPDX-License-Identifier: Apache-2.0
// The C interface: the same operations, results in errno and output fields.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "api_support.h"
#include "userfault/userfault.h"

namespace userfault::test {
namespace {

class ApiC : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    if (IsSkipped()) return;
    fd_ = open_raw(0);
    ASSERT_GE(fd_, 0);
    std::uint64_t features = 0;
    ASSERT_EQ(userfault_ioctl_api(fd_, (available_ & feature::kPagefaultFlagWp).bits(), &features, &ioctls_), 0);
    EXPECT_EQ(features, available_.bits());
  }
  void TearDown() override {
    if (fd_ < 0) return;
    EXPECT_EQ(userfault_close(fd_), 0);
  }
  [[nodiscard]] userfault_engine engine() const {
    return GetParam() == EngineKind::kUser ? USERFAULT_ENGINE_USER : USERFAULT_ENGINE_KERNEL;
  }
  [[nodiscard]] int open_raw(int flags) const { return userfault_open(engine(), O_CLOEXEC | O_NONBLOCK | flags); }

  int fd_ = -1;
  std::uint64_t ioctls_ = 0;
};
USERFAULT_ON_BOTH_ENGINES(ApiC);

#define EXPECT_ERRNO(call, code) \
  do {                           \
    errno = 0;                   \
    EXPECT_EQ((call), -1);       \
    EXPECT_EQ(errno, code);      \
  } while (false)

TEST_P(ApiC, OpenTellsItsEngineAndRefusesUnknownFlags) {
  EXPECT_EQ(userfault_engine_of(fd_), engine());
  EXPECT_ERRNO(userfault_engine_of(-1), EBADF);
  EXPECT_ERRNO(open_raw(1 << 20), EINVAL);
  EXPECT_TRUE(Operations(ioctls_).has(operation::kApi | operation::kRegister | operation::kUnregister));
}

TEST_P(ApiC, AFaultFromEndToEnd) {
  const Memory memory(kPage);
  std::uint64_t operations = 0;
  ASSERT_EQ(userfault_ioctl_register(fd_, memory.range().data(), kPage, USERFAULT_REGISTER_MODE_MISSING, &operations),
            0);
  EXPECT_TRUE(Operations(operations).has(operation::kCopy));
  char read = 0;
  std::jthread reader([&] { read = *memory.data(); });
  pollfd entry{fd_, POLLIN, 0};
  ASSERT_EQ(userfault_poll(&entry, 1, 10'000), 1);
  userfault_msg message;
  EXPECT_ERRNO(userfault_read(fd_, &message, sizeof message - 1), EINVAL);
  ASSERT_EQ(userfault_read(fd_, &message, sizeof message), static_cast<ssize_t>(sizeof message));
  EXPECT_EQ(message.event, USERFAULT_EVENT_PAGEFAULT);
  EXPECT_ERRNO(userfault_read(fd_, &message, sizeof message), EAGAIN);
  const auto source = page_of('c');
  std::int64_t done = -7;
  ASSERT_EQ(userfault_ioctl_copy(fd_, memory.range().data(), source.data(), kPage, 0, &done), 0);
  EXPECT_EQ(done, static_cast<std::int64_t>(kPage));
  reader.join();
  EXPECT_EQ(read, 'c');
  ASSERT_EQ(userfault_ioctl_unregister(fd_, memory.range().data(), kPage), 0);
}

TEST_P(ApiC, OutputFieldsAndErrno) {
  const Memory memory(2 * kPage);
  void* start = memory.range().data();
  const auto source = page_of('c', 2 * kPage);
  std::int64_t done = -7;
  EXPECT_ERRNO(userfault_ioctl_copy(fd_, start, source.data(), kPage, 0, &done), ENOENT);
  EXPECT_EQ(done, -ENOENT);
  ASSERT_EQ(userfault_ioctl_register(fd_, start, 2 * kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr), 0);
  EXPECT_ERRNO(userfault_ioctl_copy(fd_, start, source.data(), 1, 0, &done), EINVAL);
  EXPECT_EQ(done, 0) << "argument checks leave the field alone, and it went in as 0";
  ASSERT_EQ(userfault_ioctl_zeropage(fd_, memory.page(1).data(), kPage, 0, &done), 0);
  EXPECT_ERRNO(userfault_ioctl_copy(fd_, start, source.data(), 2 * kPage, 0, &done), EAGAIN);
  EXPECT_EQ(done, static_cast<std::int64_t>(kPage));
  EXPECT_ERRNO(userfault_ioctl_zeropage(fd_, start, kPage, 0, &done), EEXIST);
  EXPECT_EQ(done, -EEXIST);
  EXPECT_EQ(userfault_ioctl_wake(fd_, start, kPage), 0);
  EXPECT_ERRNO(userfault_ioctl_writeprotect(fd_, start, kPage, USERFAULT_WRITEPROTECT_MODE_WP), ENOENT);
  EXPECT_ERRNO(userfault_ioctl_continue(fd_, start, kPage, 0, &done), EINVAL);
  if (available_.has(feature::kPoison)) {
    EXPECT_ERRNO(userfault_ioctl_poison(fd_, start, kPage, 0, &done), EEXIST);
  }
  if (available_.has(feature::kMove)) {
    const Memory from(kPage);
    EXPECT_ERRNO(userfault_ioctl_move(fd_, start, from.range().data(), kPage, 0, &done), EEXIST);
  }
  EXPECT_ERRNO(userfault_ioctl(fd_, 0x1234, nullptr), EINVAL);
  EXPECT_ERRNO(userfault_ioctl(fd_, USERFAULT_IOC_WAKE, nullptr), EFAULT);
  EXPECT_EQ(userfault_ioctl_unregister(fd_, start, 2 * kPage), 0);
}

// MSG-02, REAL-20
TEST_P(ApiC, PollReportsAnErrorAtOnce) {
  const int fresh = open_raw(0);
  ASSERT_GE(fresh, 0);
  pollfd entry{fresh, POLLIN, 0};
  ASSERT_EQ(userfault_poll(&entry, 1, -1), 1);
  EXPECT_EQ(entry.revents & POLLERR, POLLERR);
  EXPECT_EQ(userfault_close(fresh), 0);
  pollfd idle{fd_, POLLIN, 0};
  EXPECT_EQ(userfault_poll(&idle, 1, 5), 0);
}

TEST_P(ApiC, LayoutCalls) {
  void* memory = userfault_mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  *static_cast<volatile char*>(memory) = 1;
  EXPECT_EQ(userfault_mprotect(memory, kPage, PROT_READ), 0);
  EXPECT_EQ(userfault_madvise(memory, kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(*static_cast<volatile char*>(memory), 0);
  EXPECT_EQ(userfault_munmap(memory, kPage), 0);
  void* rest = static_cast<char*>(memory) + kPage;
  void* moved = userfault_mremap(rest, kPage, 2 * kPage, MREMAP_MAYMOVE, nullptr);
  ASSERT_NE(moved, MAP_FAILED);
  EXPECT_EQ(userfault_munmap(moved, 2 * kPage), 0);
  errno = 0;
  EXPECT_EQ(userfault_mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_ERRNO(userfault_munmap(static_cast<char*>(memory) + 1, kPage), EINVAL);
  EXPECT_ERRNO(userfault_close(-1), EBADF);
}

}  // namespace
}  // namespace userfault::test

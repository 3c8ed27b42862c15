// SPDX-License-Identifier: Apache-2.0
// Memory that libc gives back by itself, without any call that a library in front of it would see.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <poll.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "served.h"

namespace preload_test {
namespace {

std::uintptr_t number(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
char* first_page_in(char* memory) { return memory + (kPage - number(memory) % kPage) % kPage; }
char first_byte(const char* at) { return *static_cast<const volatile char*>(at); }

// Counts the events of a range that it reads, and answers faults with zero pages.
class Watched {
 public:
  explicit Watched(std::uint64_t features) : fd_(open_uffd(O_CLOEXEC | O_NONBLOCK)) {
    ready_ = fd_ >= 0 && handshake(fd_, features) && ::pipe2(stop_, O_CLOEXEC) == 0;
    if (ready_) reader_ = std::thread([this] { read_messages(); });
  }
  ~Watched() {
    if (!ready_) return;
    ::close(stop_[1]);
    reader_.join();
    ::close(stop_[0]);
    ::close(fd_);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] bool add(char* memory, std::size_t pages) const {
    uffdio_register range{.range = {number(memory), pages * kPage}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
    return ::ioctl(fd_, UFFDIO_REGISTER, &range) == 0;
  }
  // Whether the range that holds `page` is registered.
  [[nodiscard]] bool holds(std::uintptr_t page) const {
    uffdio_range range{.start = page, .len = kPage};
    return ::ioctl(fd_, UFFDIO_WAKE, &range) == 0 && zero(page) != ENOENT;
  }
  // Waits until an event of this kind was read whose range holds `page`. The call that raised it returns when
  // the reader has it, which is before the reader has noted it.
  [[nodiscard]] bool read_of(unsigned event, std::uintptr_t page) {
    std::unique_lock lock(mutex_);
    return noted_.wait_for(lock, std::chrono::seconds(10), [&] {
      for (const uffd_msg& message : events_)
        if (message.event == event && message.arg.remove.start <= page && page < message.arg.remove.end) return true;
      return false;
    });
  }
  [[nodiscard]] unsigned faults() const { return faults_; }

 private:
  [[nodiscard]] int zero(std::uintptr_t page) const {
    uffdio_zeropage request{.range = {page, kPage}, .mode = 0, .zeropage = 0};
    return ::ioctl(fd_, UFFDIO_ZEROPAGE, &request) == 0 ? 0 : errno;
  }
  void read_messages() {
    for (;;) {
      pollfd entries[] = {{.fd = fd_, .events = POLLIN, .revents = 0}, {.fd = stop_[0], .events = 0, .revents = 0}};
      if (::poll(entries, 2, -1) < 0) continue;
      if (entries[1].revents != 0) return;
      uffd_msg message;
      if (::read(fd_, &message, sizeof message) != sizeof message) continue;
      if (message.event == UFFD_EVENT_PAGEFAULT) {
        ++faults_;
        static_cast<void>(zero(message.arg.pagefault.address & ~(kPage - 1)));
        continue;
      }
      const std::scoped_lock lock(mutex_);
      events_[count_++ % std::size(events_)] = message;
      noted_.notify_all();
    }
  }

  int fd_;
  int stop_[2] = {-1, -1};
  bool ready_ = false;
  std::atomic<unsigned> faults_ = 0;
  // No vector: the memory that is watched may be the allocator's, whose lock the caller holds.
  std::mutex mutex_;
  std::condition_variable noted_;
  uffd_msg events_[64] = {};
  std::size_t count_ = 0;
  std::thread reader_;
};

constexpr std::uint64_t kEvents = UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE;

TEST(LibcMemory, FreeOfAMappingEndsTheRegistration) {
  Watched watched(kEvents);
  ASSERT_TRUE(watched.ready());
  constexpr std::size_t kBytes = std::size_t{64} << 20;  // more than malloc ever takes from the heap
  auto* block = static_cast<char*>(std::malloc(kBytes));
  char* const pages = first_page_in(block);
  ASSERT_TRUE(watched.add(pages, 4));
  EXPECT_EQ(first_byte(pages), 0);
  const std::uintptr_t where = number(pages);
  std::free(block);
  EXPECT_TRUE(watched.read_of(UFFD_EVENT_UNMAP, where)) << "free waits until the event was read";
  EXPECT_FALSE(watched.holds(where));
}

TEST(LibcMemory, TrimmingTakesTheContent) {
  Watched watched(kEvents);
  ASSERT_TRUE(watched.ready());
  // Small blocks in the heap, all free but the last, which keeps the heap from ending before them.
  std::vector<char*> blocks(2000);
  for (char*& block : blocks) {
    block = static_cast<char*>(std::malloc(1000));
    std::memset(block, 'x', 1000);
  }
  char* const keeper = blocks.back();
  char* const pages = first_page_in(blocks[500]);
  char* const inside = pages + 20 * kPage;
  ASSERT_LT(inside, blocks[1500]) << "the blocks lie side by side";
  for (char*& block : blocks)
    if (block != keeper) std::free(block);
  ASSERT_TRUE(watched.add(pages, 40));
  ::malloc_trim(0);
  EXPECT_TRUE(watched.read_of(UFFD_EVENT_REMOVE, number(inside)));
  const unsigned before = watched.faults();
  EXPECT_EQ(first_byte(inside + 100), 0);
  EXPECT_EQ(watched.faults(), before + 1);
  std::free(keeper);
}

// The end of the heap goes down, through libc and through syscall(3).
TEST(LibcMemory, ALowerBreakEndsTheRegistration) {
  for (const bool raw : {false, true}) {
    Watched watched(kEvents);
    ASSERT_TRUE(watched.ready());
    auto* const before = static_cast<char*>(::sbrk(0));
    char* const pages = first_page_in(before);
    ASSERT_EQ(::sbrk(pages - before + 8 * static_cast<std::intptr_t>(kPage)), before);
    ASSERT_TRUE(watched.add(pages, 8));
    EXPECT_EQ(first_byte(pages), 0);
    char* const end = pages + 4 * kPage;
    if (raw) {
      EXPECT_EQ(::syscall(SYS_brk, end), static_cast<long>(number(end)));
    }
    EXPECT_EQ(::brk(end), 0);
    EXPECT_TRUE(watched.read_of(UFFD_EVENT_UNMAP, number(end + kPage))) << (raw ? "syscall" : "brk");
    EXPECT_TRUE(watched.holds(number(pages)));
    EXPECT_FALSE(watched.holds(number(end + kPage)));
    ASSERT_EQ(::sbrk(4 * kPage), end);
    EXPECT_EQ(first_byte(end + kPage), 0) << "new memory, which nobody has registered";
    EXPECT_EQ(watched.faults(), 1U);
    EXPECT_EQ(::brk(before), 0);
  }
}

}  // namespace
}  // namespace preload_test

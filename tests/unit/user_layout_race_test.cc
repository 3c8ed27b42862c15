// SPDX-License-Identifier: Apache-2.0
// Layout changes of the user engine under threads that fault there at that moment. A fault is taken
// with one layout and decided with the next one; an access that both of them permit must not end in
// a signal, and one that has to wait must not keep a change from ending.
#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "bounded.h"
#include "support/sanitizers.h"
#include "user_support.h"

namespace userfault::test {
namespace {

// Threads that touch pages in turns: each turn begins at once for all, and ends when all are through.
class Touchers {
 public:
  template <typename Touch>
  Touchers(std::size_t count, Touch touch) : threads_(count) {
    for (std::size_t i = 0; i < count; ++i)
      threads_[i] = std::thread([this, i, touch] {
        for (unsigned turn = 1;; ++turn) {
          while (turn_.load() < turn) std::this_thread::yield();
          if (stop_) return;
          ++begun_;
          touch(i);
          ++through_;
        }
      });
  }
  ~Touchers() {
    stop_ = true;
    ++turn_;
    for (std::thread& thread : threads_) thread.join();
  }
  Touchers(const Touchers&) = delete;
  Touchers& operator=(const Touchers&) = delete;

  // Returns when all of them are at it.
  void begin() {
    begun_ = through_ = 0;
    ++turn_;
    while (begun_.load() < threads_.size()) std::this_thread::yield();
  }
  // `help` is called again and again until all are through; false when they never are.
  template <typename Help>
  [[nodiscard]] bool end(Help help) {
    return comes_true([&] {
      help();
      return through_.load() == threads_.size();
    });
  }

 private:
  std::vector<std::thread> threads_;
  std::atomic<unsigned> turn_{0};
  std::atomic<std::size_t> begun_{0};
  std::atomic<std::size_t> through_{0};
  std::atomic<bool> stop_{false};
};

// Nothing but time passes: the places where two threads meet shift from round to round.
void spin(unsigned iterations) {
  for (std::atomic<unsigned> i = 0; i < iterations; i.fetch_add(1, std::memory_order_relaxed)) {
  }
}

// The engine remembers where something changed last, and takes a fault there for one that came too
// late; so that the registration is not what it remembers, much changes elsewhere.
void change_elsewhere(const Served& served) {
  for (int i = 0; i < 70; ++i)
    userfault_mprotect(served.memory, kPage, i % 2 == 0 ? PROT_READ : PROT_READ | PROT_WRITE);
}

// Pages that are there make the change itself take its time; the page that is touched is missing.
constexpr std::size_t kCoverPages = 256;

void map_over_faulting_threads(const Complaint& complaint) {
  const Served elsewhere(1);
  const Served served(kCoverPages + 2);
  const std::vector<char> source(kCoverPages * kPage, 7);
  std::atomic<unsigned> round{0};
  const auto touch = [&](std::size_t i) {
    spin(round.load() * 97 % 8000);
    complaint.unless(*static_cast<volatile char*>(served.page(kCoverPages + i)) == 0, "no page of zeroes");
  };
  Touchers touchers(2, touch);
  for (; round.load() < 400; ++round) {
    complaint.unless(userfault_ioctl_copy(served.fd, served.memory, source.data(), source.size(), 0, nullptr) == 0,
                     "COPY");
    change_elsewhere(elsewhere);
    touchers.begin();
    complaint.unless(userfault_mmap(served.memory, served.bytes(), PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == served.memory,
                     "mmap");
    // Who was asleep by then stays so, as in the kernel, until it is woken.
    complaint.unless(touchers.end([&] { userfault_ioctl_wake(served.fd, served.memory, served.bytes()); }),
                     "a thread waits for a page of memory that nobody serves any more");
    // Fresh memory: what was read is a page of zeroes, which would be there.
    complaint.unless(userfault_madvise(served.memory, served.bytes(), MADV_DONTNEED) == 0, "madvise");
    complaint.unless(userfault_ioctl_register(served.fd, served.memory, served.bytes(), USERFAULT_REGISTER_MODE_MISSING,
                                              nullptr) == 0,
                     "register");
  }
}

TEST(UserLayoutRace, MapOverThreadsThatFault) { EXPECT_EQ(ending_of(map_over_faulting_threads), ""); }

// Every second page has another protection, so each is an area of its own; shared memory, because
// nothing of ours is left where it ends.
constexpr std::size_t kManyAreas = 200;

void unregister_under_faulting_threads(const Complaint& complaint) {
  const Served served(kManyAreas, 0, USERFAULT_REGISTER_MODE_MISSING, MAP_SHARED | MAP_ANONYMOUS);
  for (std::size_t i = 0; i < kManyAreas; i += 2)
    complaint.unless(userfault_mprotect(served.page(i), kPage, PROT_READ) == 0, "mprotect");
  const auto touch = [&](std::size_t i) {
    for (std::size_t page = i; page < kManyAreas; page += 2)
      complaint.unless(*static_cast<volatile char*>(served.page(page)) == 0, "no page of zeroes");
  };
  Touchers touchers(2, touch);
  for (int round = 0; round < 40; ++round) {
    touchers.begin();
    complaint.unless(userfault_ioctl_unregister(served.fd, served.memory, served.bytes()) == 0, "unregister");
    complaint.unless(touchers.end([&] { userfault_ioctl_wake(served.fd, served.memory, served.bytes()); }),
                     "a thread waits for a page that is not registered any more");
    complaint.unless(userfault_madvise(served.memory, served.bytes(), MADV_REMOVE) == 0, "madvise");
    complaint.unless(userfault_ioctl_register(served.fd, served.memory, served.bytes(), USERFAULT_REGISTER_MODE_MISSING,
                                              nullptr) == 0,
                     "register");
  }
}

TEST(UserLayoutRace, UnregisterOfManyAreasUnderThreadsThatFault) {
  EXPECT_EQ(ending_of(unregister_under_faulting_threads), "");
}

// A fault that seems resolved again and again is taken for a mapping that was changed behind the engine's
// back; one that is resolved each time is not, however often a thread's only fault is this one. Here the
// page is in the object, so that nobody is asked, and out of the mapping.
constexpr int kOftenEnough = 100'100;  // more trials than the engine gives one fault

void fault_at_one_page_for_a_long_time(const Complaint& complaint) {
  const Served served(1, 0, USERFAULT_REGISTER_MODE_MISSING, MAP_SHARED | MAP_ANONYMOUS);
  complaint.unless(served.copy(0) == 0, "COPY");
  const auto expected = word_of(1, 0, 0);
  for (int i = 0; i < kOftenEnough; ++i) {
    complaint.unless(userfault_madvise(served.memory, kPage, MADV_DONTNEED) == 0, "madvise");
    complaint.unless(*reinterpret_cast<const volatile std::uint64_t*>(served.memory) == expected, "wrong content");
  }
}

TEST(UserLayoutRace, ThreadThatFaultsAtOnePageForALongTime) {
  EXPECT_EQ(ending_of(fault_at_one_page_for_a_long_time), "");
}

// ---- a handler of the program's that faults, in a thread that raises events ----

constexpr std::size_t kSignals = 800;
constexpr std::size_t kDropped = kSignals;  // the page behind those that the handler touches
constexpr std::uint64_t kEvents = USERFAULT_FEATURE_EVENT_REMOVE | USERFAULT_FEATURE_EVENT_UNMAP;

const Served* touched_by_handler = nullptr;
std::atomic<std::size_t> handled{0};

void touch_the_next_page(int) {
  const std::size_t page = handled.load();
  static_cast<void>(*static_cast<volatile char*>(touched_by_handler->page(page)));
  handled = page + 1;
}

// Reads what there is and fills what is missing. COPY is refused while a change is under way, which
// ends when the thread that makes it has gone on: it is tried again, as ioctl_userfaultfd(2) has it.
void serve_until(const Complaint& complaint, const Served& served, const std::atomic<bool>& stop) {
  while (!stop.load()) {
    userfault_msg message{};
    if (userfault_read(served.fd, &message, sizeof message) != sizeof message) {
      std::this_thread::yield();
      continue;
    }
    if (message.event != USERFAULT_EVENT_PAGEFAULT) continue;
    const std::size_t page = served.index_of(message.arg.pagefault.address);
    int error = 0;
    const bool filled = comes_true([&] { return (error = served.copy(page)) != EAGAIN; });
    complaint.unless(filled, "COPY is refused for ever: the change waits for the page");
    complaint.unless(error == 0 || error == EEXIST, "COPY");
  }
}

template <typename Change>
void change_while_handlers_fault(const Complaint& complaint, const Served& served, Change change) {
  touched_by_handler = &served;
  struct sigaction action {};
  action.sa_handler = touch_the_next_page;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGUSR1, &action, nullptr);
  std::atomic<bool> stop{false};
  std::atomic<int> started{0};
  std::thread monitor([&] {
    ++started;
    serve_until(complaint, served, stop);
  });
  std::atomic<bool> changes{true};
  std::thread changer([&] {
    ++started;
    while (changes.load()) change();
  });
  // A thread that begins may hold malloc's lock, which the other one needs to begin.
  complaint.unless(comes_true([&] { return started.load() == 2; }), "the threads do not begin");
  for (std::size_t i = 0; i < kSignals; ++i) {
    spin(static_cast<unsigned>(i * 61 % 4000));
    ::pthread_kill(changer.native_handle(), SIGUSR1);
    complaint.unless(comes_true([&] { return handled.load() == i + 1; }), "the handler does not end");
  }
  changes = false;
  changer.join();
  stop = true;
  monitor.join();
}

void drop_while_handlers_fault(const Complaint& complaint) {
  const Served served(kSignals + 1, kEvents);
  change_while_handlers_fault(complaint, served, [&] {
    complaint.unless(userfault_madvise(served.page(kDropped), kPage, MADV_DONTNEED) == 0, "madvise");
  });
}

void unmap_while_handlers_fault(const Complaint& complaint) {
  const Served served(kSignals + 1, kEvents);
  char* page = served.page(kDropped);
  change_while_handlers_fault(complaint, served, [&] {
    complaint.unless(userfault_munmap(page, kPage) == 0, "munmap");
    complaint.unless(
        userfault_mmap(page, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page,
        "mmap");
    complaint.unless(userfault_ioctl_register(served.fd, page, kPage, USERFAULT_REGISTER_MODE_MISSING, nullptr) == 0,
                     "register");
  });
}

TEST(UserLayoutRace, HandlerThatFaultsInAThreadThatDropsPages) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  EXPECT_EQ(ending_of(drop_while_handlers_fault), "");
}

TEST(UserLayoutRace, HandlerThatFaultsInAThreadThatUnmaps) {
  if (kThreadSanitizer) GTEST_SKIP() << kSignalsAreHeldBack;
  EXPECT_EQ(ending_of(unmap_while_handlers_fault), "");
}

}  // namespace
}  // namespace userfault::test

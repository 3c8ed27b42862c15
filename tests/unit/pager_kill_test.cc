// SPDX-License-Identifier: Apache-2.0
// A process that is killed while it writes back leaves whole pages in the file: each as it was at one
// moment, none half old and half new.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>

#include "child.h"
#include "support/pager_fixture.h"
#include "support/temporary_file.h"

namespace userfault::test {
namespace {

constexpr std::size_t kPages = 256;
constexpr std::size_t kWords = kPage / sizeof(std::uint64_t);

class PagerKill : public PagerOnEngine {};

// Tells the parent of every write before the file gets it, so that the end comes in the midst of one.
class ToldStore final : public Store {
 public:
  ToldStore(std::shared_ptr<Store> file, int fd) : file_(std::move(file)), told_(fd) {}
  std::uint64_t size() const override { return file_->size(); }
  bool writable() const override { return true; }
  void read(std::span<StoreRequest> batch) override { file_->read(batch); }
  void write(std::span<StoreRequest> batch) override {
    if (::write(told_, "w", 1) != 1) ::_exit(3);
    file_->write(batch);
  }

 private:
  const std::shared_ptr<Store> file_;
  const int told_;
};

void stamp(const Mapping& mapping, std::size_t page, std::uint64_t number) {
  auto* const words = reinterpret_cast<std::uint64_t*>(mapping.data() + page * kPage);
  std::fill(words, words + kWords, number);
}

// Fills all pages and writes them back, over and over; nobody writes to a page meanwhile.
void stamp_and_flush(const Mapping& mapping) {
  for (std::uint64_t number = 1;; ++number) {
    for (std::size_t page = 0; page < kPages; ++page) stamp(mapping, page, number);
    if (!mapping.flush()) ::_exit(4);
  }
}

// Fills pages that nobody evicts while they are pinned, and leaves the rest to eviction.
void stamp_and_be_evicted(const Mapping& mapping) {
  std::mt19937 random(1);
  for (std::uint64_t number = 1;; ++number) {
    const std::size_t page = random() % kPages;
    if (!mapping.pin(page * kPage, kPage)) ::_exit(5);
    stamp(mapping, page, number);
    if (!mapping.unpin(page * kPage, kPage)) ::_exit(6);
  }
}

[[noreturn]] void write_for_ever(EngineKind engine, const std::string& path, bool evict, int fd) {
  ::alarm(20);
  auto pager = Pager::create({.engine = engine,
                              .prefetchers = 0,
                              .budget = evict ? 32 * kPage : 0,
                              .write_back_at = evict ? UINT64_MAX : 0});  // in the background nothing is written
  auto file = open_file_store(path, {.writable = true});
  if (!pager || !file) ::_exit(1);
  const auto mapping = pager->map(std::make_shared<ToldStore>(*file, fd), {.detect_streams = false, .writable = true});
  if (!mapping) ::_exit(2);
  evict ? stamp_and_be_evicted(*mapping) : stamp_and_flush(*mapping);
  ::_exit(7);
}

// Kills the process when it is about to write for the `writes`-th time; how it ended.
int kill_after(EngineKind engine, const std::string& path, bool evict, unsigned writes) {
  int ends[2];
  if (::pipe(ends) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    write_for_ever(engine, path, evict, ends[1]);
  }
  ::close(ends[1]);
  char told = 0;
  while (writes != 0 && ::read(ends[0], &told, 1) == 1) --writes;
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(ends[0]);
  return status;
}

struct Found {
  std::size_t mixed = 0;    // pages of more than one version
  std::size_t written = 0;  // of another one than the first
};

Found look_at(const std::string& path) {
  std::vector<std::uint64_t> words(kPages * kWords);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(words.data()), static_cast<std::streamsize>(words.size() * sizeof words[0]));
  EXPECT_EQ(file.gcount(), static_cast<std::streamsize>(words.size() * sizeof words[0]));
  Found found;
  for (auto page = words.begin(); page != words.end(); page += kWords) {
    found.mixed += std::any_of(page, page + kWords, [&](std::uint64_t word) { return word != *page; });
    found.written += *page != 0;
  }
  return found;
}

void kill_many_times(EngineKind engine, bool evict) {
  constexpr unsigned kRounds = 20;
  std::size_t written = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    const TemporaryFile file(std::vector<std::byte>(kPages * kPage));
    const int status = kill_after(engine, file.path(), evict, 1 + round % 7 * (evict ? 20 : 1));
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "status " << status;
    const Found found = look_at(file.path());
    EXPECT_EQ(found.mixed, 0u) << "in round " << round;
    written += found.written;
  }
  EXPECT_GT(written, kPages) << "nothing was tested";
}

TEST_P(PagerKill, LeavesWholePagesBehindInTheMidstOfAFlush) { kill_many_times(GetParam(), false); }

TEST_P(PagerKill, LeavesWholePagesBehindInTheMidstOfEviction) { kill_many_times(GetParam(), true); }

USERFAULT_ON_BOTH_ENGINES(PagerKill);

}  // namespace
}  // namespace userfault::test

// SPDX-License-Identifier: Apache-2.0
// The core file of a program that crashes beside the user engine tells of the crash, not of us.
#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "child.h"
#include "support/sanitizers.h"
#include "userfault/descriptor.h"

namespace userfault {
namespace {

constexpr std::size_t kPage = 4096;
constexpr rlim_t kRoomForACore = rlim_t{256} << 20;

// What the notes of a core file say of the thread that died.
struct Crash {
  int signal = 0;
  int code = 0;
  const void* address = nullptr;
  std::uintptr_t instruction = 0;
};

#if defined(__x86_64__)
std::uintptr_t instruction_of(const elf_prstatus& status) {
  return reinterpret_cast<const user_regs_struct*>(&status.pr_reg)->rip;
}
#else
std::uintptr_t instruction_of(const elf_prstatus& status) {
  return reinterpret_cast<const user_regs_struct*>(&status.pr_reg)->pc;
}
#endif

template <typename T>
T at(const std::vector<char>& bytes, std::size_t offset) {
  T value{};
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void read_note(const std::vector<char>& core, const ElfW(Nhdr) & note, std::size_t offset, Crash& crash) {
  // The thread that died comes first.
  if (note.n_type == NT_PRSTATUS && crash.instruction == 0)
    crash.instruction = instruction_of(at<elf_prstatus>(core, offset));
  if (note.n_type == NT_SIGINFO && crash.signal == 0) {
    const auto info = at<siginfo_t>(core, offset);
    crash.signal = info.si_signo;
    crash.code = info.si_code;
    crash.address = info.si_addr;
  }
}

std::optional<Crash> read_core(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> core{std::istreambuf_iterator<char>(file), {}};
  if (core.size() < sizeof(ElfW(Ehdr))) return std::nullopt;
  const auto header = at<ElfW(Ehdr)>(core, 0);
  Crash crash;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto segment = at<ElfW(Phdr)>(core, header.e_phoff + i * sizeof(ElfW(Phdr)));
    if (segment.p_type != PT_NOTE) continue;
    const auto padded = [](std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; };
    for (std::size_t offset = segment.p_offset; offset < segment.p_offset + segment.p_filesz;) {
      const auto note = at<ElfW(Nhdr)>(core, offset);
      offset += sizeof note + padded(note.n_namesz);
      read_note(core, note, offset, crash);
      offset += padded(note.n_descsz);
    }
  }
  return crash;
}

// The instruction that crashes is the first one of it that touches memory.
__attribute__((noinline)) void crash_at(volatile char* address) { *address = 1; }

class CoreFile : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test::kAddressSanitizer || test::kThreadSanitizer) GTEST_SKIP() << "a sanitizer's runtime takes the crash";
    std::ifstream file("/proc/sys/kernel/core_pattern");
    std::string pattern;
    std::getline(file, pattern);
    if (pattern.empty() || pattern.find_first_of("|/%") != std::string::npos)
      GTEST_SKIP() << "cores go elsewhere: /proc/sys/kernel/core_pattern is " << pattern;
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_CORE, &limit), 0);
    limit_ = limit.rlim_max;
    if (limit_ < kRoomForACore) GTEST_SKIP() << "cores are limited to " << limit_ << " bytes (ulimit -Hc)";
    char name[] = "/tmp/userfault_core.XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    pattern_ = pattern;
  }
  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  // The core file that a process leaves behind which runs `body`.
  template <typename Body>
  std::optional<Crash> crash_of(Body&& body) {
    const auto end = test::run_in_child([&](test::Report) {
      const rlimit all{limit_, limit_};
      if (::chdir(directory_.c_str()) != 0 || ::setrlimit(RLIMIT_CORE, &all) != 0) ::_exit(1);
      body();
    });
    EXPECT_TRUE(end.killed_by(SIGSEGV)) << end.status;
    EXPECT_TRUE(WCOREDUMP(end.status));
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      if (!entry.path().filename().string().starts_with(pattern_)) continue;
      auto crash = read_core(entry.path());
      std::filesystem::remove(entry.path());
      return crash;
    }
    return std::nullopt;
  }

  std::string directory_;
  std::string pattern_;
  rlim_t limit_ = 0;
};

char* map_page(int protection) {
  void* page = ::mmap(nullptr, kPage, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : static_cast<char*>(page);
}

// A descriptor of the user engine with a registered page, so that its handlers stand.
Descriptor serve(char* page) {
  auto descriptor = Descriptor::open({.engine = EngineKind::kUser});
  if (!descriptor || !descriptor->register_range(PageRange::of(page, kPage), mode::kMissing)) ::_exit(2);
  return std::move(*descriptor);
}

void expect_same(const std::optional<Crash>& with, const std::optional<Crash>& without) {
  ASSERT_TRUE(without.has_value());
  ASSERT_TRUE(with.has_value());
  EXPECT_EQ(with->signal, SIGSEGV);
  EXPECT_EQ(with->signal, without->signal);
  EXPECT_EQ(with->code, without->code);
  EXPECT_EQ(with->address, without->address);
  EXPECT_EQ(with->instruction, without->instruction);
}

TEST_F(CoreFile, OfAWriteToNothing) {
  char* const nothing = reinterpret_cast<char*>(kPage);
  const auto without = crash_of([&] { crash_at(nothing + 8); });
  const auto with = crash_of([&] {
    const Descriptor descriptor = serve(map_page(PROT_READ | PROT_WRITE));
    crash_at(nothing + 8);
  });
  expect_same(with, without);
  ASSERT_TRUE(with.has_value());
  EXPECT_EQ(with->address, nothing + 8);
}

// Memory that is served, but that the program may not write to.
TEST_F(CoreFile, OfAWriteToServedMemoryThatIsReadOnly) {
  char* const page = map_page(PROT_READ);
  const auto without = crash_of([&] { crash_at(page + 16); });
  const auto with = crash_of([&] {
    const Descriptor descriptor = serve(page);
    crash_at(page + 16);
  });
  expect_same(with, without);
}

TEST_F(CoreFile, OfASignalThatSomebodySends) {
  const auto without = crash_of([] { ::raise(SIGSEGV); });
  const auto with = crash_of([] {
    const Descriptor descriptor = serve(map_page(PROT_READ | PROT_WRITE));
    ::raise(SIGSEGV);
  });
  ASSERT_TRUE(with.has_value() && without.has_value());
  EXPECT_EQ(with->signal, SIGSEGV);
  EXPECT_EQ(with->code, without->code);
  EXPECT_EQ(with->instruction, without->instruction);
}

}  // namespace
}  // namespace userfault

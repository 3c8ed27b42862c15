// SPDX-License-Identifier: Apache-2.0
#include "preload/trap/trap_filter.h"

#include <fcntl.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include <cstring>

#include "preload/trap/trap_context.h"

namespace userfault::preload {
namespace {

bool contains(const CodeRange& range, std::uint64_t address) noexcept {
  return address - range.start < range.end - range.start;
}

std::uint64_t address_of(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

// Sanitizers make system calls of their own all the time, for memory that is theirs.
bool is_runtime(const char* name) noexcept {
  for (const char* part : {"libasan", "libtsan", "liblsan", "libubsan", "libhwasan", "libclang_rt", "libpthread.so"})
    if (std::strstr(name, part) != nullptr) return true;
  return false;
}

// A program that is linked to a fixed address leaves a filter behind that would kill a static program
// at the same one.
bool is_fixed(const dl_phdr_info& object) noexcept { return object.dlpi_addr == 0; }

int look_at(dl_phdr_info* object, std::size_t, void* argument) {
  auto* code = static_cast<WatchedCode*>(argument);
  if (object->dlpi_addr == getauxval(AT_BASE) || object->dlpi_addr == getauxval(AT_SYSINFO_EHDR)) return 0;
  if (is_fixed(*object) || is_runtime(object->dlpi_name)) return 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    const std::uint64_t start = object->dlpi_addr + segment.p_vaddr;
    const CodeRange range{.start = start, .end = start + segment.p_memsz};
    if (contains(range, address_of(reinterpret_cast<const void*>(&find_watched_code)))) continue;
    if (contains(range, address_of(reinterpret_cast<const void*>(&gnu_get_libc_version)))) code->libc = range;
    else if (code->count < WatchedCode::kMost) code->ranges[code->count++] = range;
  }
  return 0;
}

constexpr sock_filter load(std::size_t offset) noexcept {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
constexpr sock_filter answer(std::uint32_t value) noexcept { return BPF_STMT(BPF_RET | BPF_K, value); }
constexpr sock_filter jump(unsigned short test, std::uint32_t value, std::size_t yes, std::size_t no) noexcept {
  return BPF_JUMP(static_cast<unsigned short>(BPF_JMP | test | BPF_K), value, static_cast<std::uint8_t>(yes),
                  static_cast<std::uint8_t>(no));
}

constexpr std::size_t kInstruction = offsetof(seccomp_data, instruction_pointer);
constexpr std::size_t kFirstArgument = offsetof(seccomp_data, args);
constexpr std::size_t kSecondArgument = kFirstArgument + sizeof(std::uint64_t);

}  // namespace

void find_watched_code(WatchedCode* code) noexcept { dl_iterate_phdr(look_at, code); }

// Numbers that are not listed are decided by number alone, which the kernel remembers (since 5.11):
// they cost what they did. A clone that shares the memory is not looked at,
// nor an fcntl that gives no number.
TrapFilter::TrapFilter(const WatchedCode& code, std::span<const int> numbers) noexcept {
  add(load(offsetof(seccomp_data, arch)));
  add(jump(BPF_JEQ, kAuditArchitecture, 1, 0));
  add(answer(SECCOMP_RET_ALLOW));
  add(load(offsetof(seccomp_data, nr)));
  // Behind the tests come the end for all other numbers, fcntl's test, clone's, and the ranges.
  constexpr std::size_t kFcntl = 1;
  constexpr std::size_t kClone = 5;
  constexpr std::size_t kRanges = 8;
  std::size_t left = numbers.size();
  for (const int number : numbers) {
    --left;
    const std::size_t to = number == SYS_clone ? kClone : number == SYS_fcntl ? kFcntl : kRanges;
    add(jump(BPF_JEQ, static_cast<std::uint32_t>(number), left + to, 0));
  }
  add(answer(SECCOMP_RET_ALLOW));
  add(load(kSecondArgument));
  add(jump(BPF_JEQ, F_DUPFD, kRanges - kFcntl - 2, 0));
  add(jump(BPF_JEQ, F_DUPFD_CLOEXEC, kRanges - kFcntl - 3, 0));
  add(answer(SECCOMP_RET_ALLOW));
  add(load(kFirstArgument));
  add(jump(BPF_JSET, CLONE_VM, 0, 1));
  add(answer(SECCOMP_RET_ALLOW));
  add_range(code.libc, SECCOMP_RET_ALLOW);
  for (std::size_t i = 0; i < code.count; ++i) add_range(code.ranges[i], SECCOMP_RET_TRAP | kTrapTag);
  add(answer(SECCOMP_RET_ALLOW));
}

// The filter's machine has 32 bits: a range is compared within one value of the upper half.
void TrapFilter::add_range(const CodeRange& range, std::uint32_t value) noexcept {
  const std::uint64_t boundary = ((range.start >> 32) + 1) << 32;
  if (range.end > boundary) {
    add_segment(range.start, boundary, value);
    add_segment(boundary, range.end, value);
  } else if (range.start < range.end) {
    add_segment(range.start, range.end, value);
  }
}

void TrapFilter::add_segment(std::uint64_t start, std::uint64_t end, std::uint32_t value) noexcept {
  add(load(kInstruction + 4));
  add(jump(BPF_JEQ, static_cast<std::uint32_t>(start >> 32), 0, 4));
  add(load(kInstruction));
  // The pointer is behind the instruction: a call in the last bytes would be missed, and has no room there.
  add(jump(BPF_JGE, static_cast<std::uint32_t>(start), 0, 2));
  add(jump(BPF_JGT, static_cast<std::uint32_t>(end - 1), 1, 0));
  add(answer(value));
}

}  // namespace userfault::preload

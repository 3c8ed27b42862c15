// SPDX-License-Identifier: Apache-2.0
// A live process to take a core of: a real program with text, heap, stack and a few mappings, one of
// which is large, and partly zero.
//
//   example_live_process MIB          fills its memory, says so, and waits to be killed
//   example_live_process MIB FILE     fills its memory and writes its own core (elf(5), ET_CORE)
//
// The core that it writes itself is real too: every readable private mapping of /proc/self/maps at
// the address where it is. It lacks the notes that a debugger wants.
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

// Two pages of three hold numbers, the third stays untouched.
std::uint64_t* fill_memory(std::size_t bytes) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* const words = static_cast<std::uint64_t*>(memory);
  constexpr std::size_t kPageWords = 4096 / sizeof(std::uint64_t);
  std::uint64_t value = 1;
  for (std::size_t i = 0; i < bytes / sizeof(std::uint64_t); ++i) {
    value = value * 6364136223846793005u + 1442695040888963407u;
    if (i / kPageWords % 3 != 2) words[i] = value;
  }
  return words;
}

std::vector<Elf64_Phdr> segments_of_self() {
  std::vector<Elf64_Phdr> segments;
  std::FILE* const maps = std::fopen("/proc/self/maps", "r");
  if (maps == nullptr) return segments;
  char line[512];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    char flags[5] = {};
    if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, flags) != 3) continue;
    // [vvar] cannot be read by anybody but the processor; [vsyscall] is the kernel's.
    if (flags[0] != 'r' || flags[3] != 'p' || std::strstr(line, "[v") != nullptr) continue;
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_flags = PF_R | (flags[1] == 'w' ? PF_W : 0u) | (flags[2] == 'x' ? PF_X : 0u);
    segment.p_vaddr = start;
    segment.p_memsz = segment.p_filesz = end - start;
    segment.p_align = 4096;
    segments.push_back(segment);
  }
  std::fclose(maps);
  return segments;
}

bool write_all(std::FILE* file, const void* data, std::size_t bytes) {
  return std::fwrite(data, 1, bytes, file) == bytes;
}

bool write_core(const char* path) {
  std::vector<Elf64_Phdr> segments = segments_of_self();
  std::FILE* const file = std::fopen(path, "w");
  if (file == nullptr || segments.empty()) return false;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(segments.size());
  std::uint64_t offset = (sizeof header + segments.size() * sizeof(Elf64_Phdr) + 4095) & ~std::uint64_t{4095};
  for (Elf64_Phdr& segment : segments) {
    segment.p_offset = offset;
    offset += segment.p_filesz;
  }
  bool good =
      write_all(file, &header, sizeof header) && write_all(file, segments.data(), segments.size() * sizeof(Elf64_Phdr));
  for (const Elf64_Phdr& segment : segments) {
    good = good && std::fseek(file, static_cast<long>(segment.p_offset), SEEK_SET) == 0 &&
           write_all(file, reinterpret_cast<const void*>(segment.p_vaddr), segment.p_filesz);
  }
  return std::fclose(file) == 0 && good;
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t mib = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 64;
  if (mib == 0 || fill_memory(mib << 20) == nullptr) {
    std::fprintf(stderr, "usage: example_live_process MIB [FILE]\n");
    return 2;
  }
  if (argc > 2) {
    if (write_core(argv[2])) return 0;
    std::perror(argv[2]);
    return 1;
  }
  std::printf("a live process, %d, with %zu MiB of memory\n", static_cast<int>(::getpid()), mib);
  std::fflush(stdout);
  for (;;) ::pause();
}

// SPDX-License-Identifier: Apache-2.0
// The lookup of dlsym(RTLD_NEXT, name), without its lock and its memory.
//
// The loader keeps the objects of a program in the order in which it searches them (_r_debug in
// <link.h>, the interface for debuggers): the program, the preloaded libraries, what they need. The
// next definition is in the first object behind this one that has the name. The search ends with
// libc, which has nearly all of them; whatever lies between is there from the program's start to its
// end, so the list is not changed under the search by dlopen(3) and dlclose(3), which work at its end.
#include "preload/symbols/libc_symbols.h"

#include <elf.h>
#include <link.h>

#include <array>
#include <cstring>

namespace userfault::preload {
namespace {

constexpr const char* kNames[] = {
#define USERFAULT_TEXT(name, number) #name,
    USERFAULT_CALLS(USERFAULT_TEXT, USERFAULT_NOTHING, USERFAULT_NOTHING)
#undef USERFAULT_TEXT
};

// Relaxed: every thread that looks finds the same address, and an address is all that is published.
constinit std::array<std::atomic<void*>, std::size(kNames)> found{};

// One object's dynamic symbols.
class Symbols {
 public:
  explicit Symbols(const link_map& object) noexcept : base_(object.l_addr) {
    for (const ElfW(Dyn)* entry = object.l_ld; entry->d_tag != DT_NULL; ++entry) {
      switch (entry->d_tag) {
        case DT_SYMTAB: symbols_ = at<ElfW(Sym)>(*entry); break;
        case DT_STRTAB: strings_ = at<char>(*entry); break;
        case DT_GNU_HASH: gnu_hash_ = at<std::uint32_t>(*entry); break;
        case DT_HASH: old_hash_ = at<std::uint32_t>(*entry); break;
        case DT_VERSYM: versions_ = at<ElfW(Half)>(*entry); break;
        case DT_SONAME: name_ = entry->d_un.d_val; break;
        default: break;
      }
    }
  }

  [[nodiscard]] bool is_libc() const noexcept {
    return strings_ != nullptr && name_ != 0 && std::strcmp(strings_ + name_, "libc.so.6") == 0;
  }

  [[nodiscard]] void* find(const char* name) const noexcept {
    if (symbols_ == nullptr || strings_ == nullptr) return nullptr;
    if (gnu_hash_ != nullptr) return find_by_hash(name);
    return old_hash_ != nullptr ? find_in_all(name) : nullptr;
  }

 private:
  // The loader has added the object's base to most pointers, but not where the table is read-only.
  template <typename T>
  [[nodiscard]] const T* at(const ElfW(Dyn) & entry) const noexcept {
    const ElfW(Addr) value = entry.d_un.d_ptr;
    return reinterpret_cast<const T*>(value >= base_ ? value : base_ + value);
  }

  // The hash table of DT_GNU_HASH: four numbers, a Bloom filter, buckets, and the hashes of each bucket's
  // symbols, the last of which has bit 0 set.
  [[nodiscard]] void* find_by_hash(const char* name) const noexcept {
    constexpr std::uint32_t kWordBits = sizeof(ElfW(Addr)) * 8;
    std::uint32_t hash = 5381;
    for (const char* at = name; *at != '\0'; ++at) hash = hash * 33 + static_cast<unsigned char>(*at);
    const std::uint32_t buckets = gnu_hash_[0];
    const std::uint32_t first = gnu_hash_[1];
    const std::uint32_t words = gnu_hash_[2];
    const auto* const filter = reinterpret_cast<const ElfW(Addr)*>(gnu_hash_ + 4);
    if (buckets == 0 || words == 0) return nullptr;
    const ElfW(Addr) word = filter[hash / kWordBits % words];
    if ((word >> (hash % kWordBits) & word >> ((hash >> gnu_hash_[3]) % kWordBits) & 1) == 0) return nullptr;
    const auto* const bucket = reinterpret_cast<const std::uint32_t*>(filter + words);
    const std::uint32_t* const hashes = bucket + buckets;
    std::uint32_t index = bucket[hash % buckets];
    if (index < first) return nullptr;
    for (;; ++index) {
      const std::uint32_t other = hashes[index - first];
      if ((other | 1) == (hash | 1) && is_named(index, name)) return address_of(symbols_[index]);
      if ((other & 1) != 0) return nullptr;
    }
  }

  // Old objects have DT_HASH alone, whose second number counts the symbols.
  [[nodiscard]] void* find_in_all(const char* name) const noexcept {
    for (std::uint32_t index = 1; index < old_hash_[1]; ++index)
      if (is_named(index, name)) return address_of(symbols_[index]);
    return nullptr;
  }

  // Whether a symbol is a definition of the name that new programs link to: older versions are hidden.
  [[nodiscard]] bool is_named(std::uint32_t index, const char* name) const noexcept {
    constexpr ElfW(Half) kHidden = 0x8000;
    const ElfW(Sym)& symbol = symbols_[index];
    if (symbol.st_shndx == SHN_UNDEF || (versions_ != nullptr && (versions_[index] & kHidden) != 0)) return false;
    return std::strcmp(strings_ + symbol.st_name, name) == 0;
  }

  // An indirect function is a function that picks the one to call.
  [[nodiscard]] void* address_of(const ElfW(Sym) & symbol) const noexcept {
    const ElfW(Addr) address = base_ + symbol.st_value;
    if (ELF64_ST_TYPE(symbol.st_info) != STT_GNU_IFUNC) return reinterpret_cast<void*>(address);
    return reinterpret_cast<void* (*)()>(address)();
  }

  ElfW(Addr) base_;
  const ElfW(Sym) * symbols_ = nullptr;
  const char* strings_ = nullptr;
  const std::uint32_t* gnu_hash_ = nullptr;
  const std::uint32_t* old_hash_ = nullptr;
  const ElfW(Half) * versions_ = nullptr;
  ElfW(Xword) name_ = 0;
};

const link_map* own_object() noexcept {
  const link_map* object = _r_debug.r_map;
  while (object != nullptr && object->l_ld != _DYNAMIC) object = object->l_next;
  return object;
}

void* find_behind(const link_map* object, const char* name) noexcept {
  for (; object != nullptr; object = object->l_next) {
    const Symbols symbols(*object);
    void* const definition = symbols.find(name);
    if (definition != nullptr || symbols.is_libc()) return definition;
  }
  return nullptr;
}

}  // namespace

void* next_definition(Name name) noexcept {
  const auto index = static_cast<std::size_t>(name);
  void* known = found[index].load(std::memory_order_relaxed);
  if (known != nullptr) return known;
  const link_map* const own = own_object();
  known = find_behind(own != nullptr ? own->l_next : nullptr, kNames[index]);
  found[index].store(known, std::memory_order_relaxed);
  return known;
}

void* find_in_libc(const char* name) noexcept {
  for (const link_map* object = _r_debug.r_map; object != nullptr; object = object->l_next)
    if (const Symbols symbols(*object); symbols.is_libc()) return symbols.find(name);
  return nullptr;
}

}  // namespace userfault::preload

// What the engine and the kernel's doors call by libc's names must not come back to us: the linker
// sends those calls here (--wrap).
using userfault::preload::Name;
using userfault::preload::next;

extern "C" {
int __wrap_ioctl(int fd, unsigned long request, void* argument) { return next<Name::ioctl>(fd, request, argument); }
int __wrap_open(const char* path, int flags, mode_t mode) { return next<Name::openat>(AT_FDCWD, path, flags, mode); }
ssize_t __wrap_read(int fd, void* buffer, size_t bytes) { return next<Name::read>(fd, buffer, bytes); }
int __wrap_close(int fd) { return next<Name::close>(fd); }
void* __wrap_mmap(void* start, size_t length, int protection, int flags, int fd, off_t offset) {
  return next<Name::mmap>(start, length, protection, flags, fd, offset);
}
int __wrap_munmap(void* start, size_t length) { return next<Name::munmap>(start, length); }
void* __wrap_mremap(void* from, size_t old_length, size_t new_length, int flags, void* to) {
  return next<Name::mremap>(from, old_length, new_length, flags, to);
}
int __wrap_madvise(void* start, size_t length, int advice) { return next<Name::madvise>(start, length, advice); }
int __wrap_mprotect(void* start, size_t length, int protection) {
  return next<Name::mprotect>(start, length, protection);
}
pid_t __wrap_fork() { return next<Name::fork>(); }
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  return userfault::preload::finish(userfault::engine::user::raw_syscall(number, a, b, c, d, e, f));
}
}

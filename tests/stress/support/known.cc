// SPDX-License-Identifier: Apache-2.0
#include "support/known.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

namespace userfault::stress {
namespace {

// One mapping as /proc/self/smaps shows it.
struct Shown {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  std::string looks;  // permissions and flags, device and inode
};

std::vector<Shown> shown_mappings() {
  std::vector<Shown> result;
  std::ifstream file("/proc/self/smaps");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmFlags:")) {
      if (!result.empty()) result.back().looks += line;
      continue;
    }
    std::istringstream words(line);
    Shown shown;
    char dash = 0;
    std::string permissions;
    std::string offset;
    std::string device;
    std::string inode;
    words >> std::hex >> shown.start >> dash >> shown.end >> permissions >> offset >> device >> inode;
    if (!words || dash != '-') continue;
    shown.looks = permissions + device + inode;
    result.push_back(shown);
  }
  return result;
}

// REG-10: two registered neighbours of the same looks that the kernel keeps apart, because each has
// had pages of its own before (two anon_vma).
bool kept_apart(std::uintptr_t start, std::size_t length) {
  const std::vector<Shown> all = shown_mappings();
  for (std::size_t i = 1; i < all.size(); ++i) {
    const bool inside = all[i].start > start && all[i].start < start + length;
    if (inside && all[i - 1].end == all[i].start && all[i - 1].looks == all[i].looks) return true;
  }
  return false;
}

bool is_shared(const Operation& operation) {
  const std::size_t page = operation.start / kPage;
  return page >= kSharedRegion.first && page < kPlainRegion.first;
}

// CONT-02, POIS-02: which pages of an open mapping the page table holds. Either the object has the
// page and this mapping has not touched it, or it has, because the kernel maps the neighbours of a
// page that is read (fault-around); what was touched by name is no excuse.
bool depends_on_the_page_table(std::span<const Operation> done, const Outcome& kernel, const Outcome& user) {
  const Operation& operation = done.back();
  if (operation.kind != Kind::kContinue && operation.kind != Kind::kPoison) return false;
  if (!is_shared(operation) || kernel == user) return false;
  if (user.error == EEXIST || user.error == EAGAIN) return true;
  if (kernel.error != EEXIST && kernel.error != EAGAIN) return false;
  const std::size_t page = operation.start / kPage + (kernel.output > 0 ? kernel.output / kPage : 0);
  return std::ranges::none_of(done.first(done.size() - 1), [page](const Operation& earlier) {
    const bool touches = earlier.kind == Kind::kRead || earlier.kind == Kind::kWrite;
    return touches && earlier.start / kPage == page;
  });
}

// UNREG-01: whom it wakes where the memory is no longer registered for missing faults.
bool wakes_more(const Operation& operation, const Outcome& kernel, const Outcome& user) {
  if (operation.kind != Kind::kUnregister || kernel.error != user.error) return false;
  for (std::size_t i = 0; i < kernel.accesses.size(); ++i)
    if (kernel.accesses[i].waits && !user.accesses[i].waits) return true;
  return false;
}

}  // namespace

bool is_known(const World& world, std::span<const Operation> done, const Outcome& kernel, const Outcome& user) {
  const Operation& operation = done.back();
  // REAL-42: how much a refused move has moved. REAL-24: moving what was registered with a neighbour.
  if (operation.kind == Kind::kMremap) return user.error == EFAULT;
  if (wakes_more(operation, kernel, user) || depends_on_the_page_table(done, kernel, user)) return true;
  if (kernel == user) return false;
  return kept_apart(world.address_of(operation.start), operation.length) ||
         (operation.kind == Kind::kMove && kept_apart(world.address_of(operation.source), operation.length));
}

}  // namespace userfault::stress

// SPDX-License-Identifier: Apache-2.0
// Serves one page: main() reads memory that is not there, the handler brings it.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>

#include "userfault/descriptor.h"

int main() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto range = userfault::PageRange::of(memory, page);

  const auto descriptor = userfault::Descriptor::open();
  if (!descriptor) return std::fprintf(stderr, "%s\n", descriptor.error().message().c_str()), 77;
  const auto operations = descriptor->register_range(range, userfault::mode::kMissing);
  if (!operations) return std::fprintf(stderr, "%s\n", operations.error().message().c_str()), 1;

  const std::jthread handler([&] {
    userfault::Message message;
    const auto ready = descriptor->wait(std::chrono::milliseconds(-1));
    const auto read = descriptor->read({&message, 1});
    std::string contents(page, '\0');
    contents.replace(0, 5, ready && read ? "hello" : "error");
    if (!descriptor->copy_fully(range, contents.data())) std::abort();
  });
  return std::puts(static_cast<const char*>(memory)) < 0;
}

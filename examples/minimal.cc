// SPDX-License-Identifier: Apache-2.0
// Memory that is filled when it is first read. The README shows this program.
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "userfault/region.h"

int main() {
  const auto descriptor = userfault::Descriptor::open();
  if (!descriptor) return std::fprintf(stderr, "%s\n", descriptor.error().message().c_str()), 1;
  const auto region = userfault::Region::create(*descriptor, 1 << 20);
  if (!region) return std::fprintf(stderr, "%s\n", region.error().message().c_str()), 1;

  const std::jthread monitor([&](const std::stop_token& stop) {
    const std::vector<char> page(region->page_size(), '!');
    userfault::Message message;
    while (!stop.stop_requested()) {
      if (!descriptor->wait(std::chrono::milliseconds(10)).value_or(false)) continue;
      const auto read = descriptor->read({&message, 1});
      if (!read || read->empty()) continue;
      const auto& fault = std::get<userfault::Fault>(message);  // no other event was asked for
      if (!descriptor->copy_fully(region->page_of(fault.address), page.data())) std::abort();
    }
  });
  std::printf("%c\n", static_cast<char>(region->data()[4711]));
}

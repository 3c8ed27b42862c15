// SPDX-License-Identifier: Apache-2.0
// What the tests of the typed API share. Every test runs on both engines; where an engine does not
// open here, or lacks a feature, the test is skipped and says so.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "userfault/descriptor.h"
#include "userfault/memory.h"
#include "userfault/region.h"

namespace userfault::test {

inline const std::size_t kPage = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
inline constexpr std::chrono::milliseconds kGuard{10'000};  // a hang guard, never waited out
inline constexpr std::size_t kHuge = 2u << 20;

class ApiTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    const auto probe = Descriptor::open({.engine = GetParam()});
    if (!probe)
      GTEST_SKIP() << "the " << name_of(GetParam()) << " engine does not open here: " << probe.error().message();
    available_ = probe->available();
  }

  // Empty when the engine does not offer `features`; then lacks() says so.
  [[nodiscard]] std::optional<Descriptor> open(Features features = {}) {
    if (!available_.has(features)) return std::nullopt;
    auto opened = Descriptor::open({.engine = GetParam(), .required = features});
    if (!opened) {
      ADD_FAILURE() << opened.error().message();
      return std::nullopt;
    }
    return std::move(*opened);
  }
  [[nodiscard]] std::string lacks(Features features) const {
    char text[96];
    std::snprintf(text, sizeof text, "the %s engine offers features 0x%llx, this needs 0x%llx", name_of(GetParam()),
                  static_cast<unsigned long long>(available_.bits()), static_cast<unsigned long long>(features.bits()));
    return text;
  }

  Features available_{};
};

#define USERFAULT_ON_BOTH_ENGINES(suite)                                                     \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::Values(EngineKind::kKernel, EngineKind::kUser), \
                           [](const auto& parameter) { return std::string(name_of(parameter.param)); })

// Why a Result failed, for EXPECT_TRUE(result) << why(result).
template <typename T>
std::string why(const Result<T>& result) {
  return result ? std::string("no error") : result.error().message();
}

inline std::vector<char> page_of(char value, std::size_t bytes = kPage) { return std::vector<char>(bytes, value); }

// Memory that nobody registered, unmapped at the end.
class Memory {
 public:
  explicit Memory(std::size_t bytes, int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1)
      : range_(memory::map(bytes, {.protection = PROT_READ | PROT_WRITE, .flags = flags, .fd = fd}).value()) {}
  ~Memory() { static_cast<void>(memory::unmap(range_)); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] PageRange range() const { return range_; }
  [[nodiscard]] PageRange page(std::size_t index) const { return {range_.start + index * kPage, kPage}; }
  [[nodiscard]] volatile char* data(std::size_t index = 0) const {
    return static_cast<volatile char*>(range_.data()) + index * kPage;
  }

 private:
  PageRange range_;
};

// The next message within the guard; fails the test and returns nothing when there is none.
inline std::optional<Message> next_message(const Descriptor& descriptor) {
  for (;;) {
    const auto ready = descriptor.wait(kGuard);
    if (!ready || !*ready) {
      ADD_FAILURE() << "no message: " << why(ready);
      return std::nullopt;
    }
    Message message;
    const auto read = descriptor.read({&message, 1});
    if (!read) {
      ADD_FAILURE() << why(read);
      return std::nullopt;
    }
    if (!read->empty()) return message;
  }
}

template <typename Kind>
std::optional<Kind> next(const Descriptor& descriptor) {
  const auto message = next_message(descriptor);
  if (!message) return std::nullopt;
  if (const Kind* kind = std::get_if<Kind>(&*message)) return *kind;
  ADD_FAILURE() << "a message of kind " << message->index() << " came";
  return std::nullopt;
}

}  // namespace userfault::test

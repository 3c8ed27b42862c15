// SPDX-License-Identifier: Apache-2.0
// What the pager's tests share: each runs on both engines.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "userfault/descriptor.h"
#include "userfault/pager.h"
#include "userfault/userfault.h"

namespace userfault::test {

inline constexpr std::size_t kPage = 4096;

[[nodiscard]] inline Pager made(const PagerOptions& options) {
  auto pager = Pager::create(options);
  EXPECT_TRUE(pager) << pager.error().message();
  return std::move(*pager);
}
[[nodiscard]] inline Mapping map(const Pager& pager, std::shared_ptr<Store> store, const MapOptions& options = {}) {
  auto mapping = pager.map(std::move(store), options);
  EXPECT_TRUE(mapping) << mapping.error().message();
  return std::move(*mapping);
}

class PagerOnEngine : public ::testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    const auto descriptor = Descriptor::open({.engine = GetParam()});
    if (!descriptor) GTEST_SKIP() << name_of(GetParam()) << " engine not available: " << descriptor.error().message();
  }
  [[nodiscard]] static Pager make(PagerOptions options = {}) {
    options.engine = GetParam();
    return made(options);
  }
};

}  // namespace userfault::test

#define USERFAULT_ON_BOTH_ENGINES(fixture)                                                                      \
  INSTANTIATE_TEST_SUITE_P(Pager, fixture,                                                                      \
                           ::testing::Values(::userfault::EngineKind::kKernel, ::userfault::EngineKind::kUser), \
                           [](const auto& engine) { return std::string(::userfault::name_of(engine.param)); })

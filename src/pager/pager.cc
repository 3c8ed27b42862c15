// SPDX-License-Identifier: Apache-2.0
// The public face of Core and Region.
#include "userfault/pager.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "pager/core.h"

namespace userfault {

Mapping::Mapping(std::shared_ptr<pager::Core> core, std::shared_ptr<pager::Region> region) noexcept
    : core_(std::move(core)), region_(std::move(region)) {}

Mapping::Mapping(Mapping&&) noexcept = default;

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
    region_ = std::move(other.region_);
  }
  return *this;
}

Mapping::~Mapping() { release(); }

// Errors stand in the pager's list by then.
void Mapping::release() noexcept {
  if (region_ == nullptr) return;
  (void)flush();
  core_->close(*region_);
  region_.reset();
  core_.reset();
}

Result<void> Mapping::close() {
  if (region_ == nullptr) return {};
  if (auto flushed = flush(); !flushed) return flushed;
  core_->close(*region_);
  region_.reset();
  core_.reset();
  return {};
}

Result<void> Mapping::flush() const { return region_->writable() ? core_->flush(*region_) : Result<void>(); }

std::byte* Mapping::data() const noexcept { return static_cast<std::byte*>(region_->range().data()); }
std::size_t Mapping::size() const noexcept { return static_cast<std::size_t>(region_->store().size()); }
std::size_t Mapping::page_size() const noexcept { return region_->page_size(); }

bool Mapping::resident(std::size_t offset) const noexcept {
  const pager::PageState state = region_->states().get(offset / region_->page_size());
  return pager::is_in_memory(state) || state == pager::PageState::kMapped;
}

void Mapping::prefetch(std::size_t offset, std::size_t length) const {
  const MappedRange range{offset, length};
  prefetch({&range, 1});
}

// What lies behind the end is left out.
void Mapping::prefetch(std::span<const MappedRange> ranges) const {
  std::vector<pager::PageSpan> spans;
  for (const auto& [offset, length] : ranges) {
    if (offset >= size() || length == 0) continue;
    spans.push_back(region_->span_of(offset, std::min(length, size() - offset)));
  }
  core_->prefetch(*region_, spans);
}

Result<void> Mapping::pin(std::size_t offset, std::size_t length) const {
  if (offset >= size() || length == 0 || length > size() - offset)
    return Unexpected(Error{.operation = Operation::kStore, .code = EINVAL});
  return core_->pin(*region_, region_->span_of(offset, length));
}

Result<void> Mapping::unpin(std::size_t offset, std::size_t length) const {
  if (offset >= size() || length == 0 || length > size() - offset)
    return Unexpected(Error{.operation = Operation::kStore, .code = EINVAL});
  return core_->unpin(*region_, region_->span_of(offset, length));
}

Statistics Mapping::statistics() const {
  Statistics result;
  region_->counters().add_to(result);
  return result;
}

void Mapping::wait_for_prefetch() const { core_->wait_for_prefetch(*region_); }

Pager::Pager(std::shared_ptr<pager::Core> core) noexcept : core_(std::move(core)) {}
Pager::Pager(Pager&&) noexcept = default;
Pager& Pager::operator=(Pager&&) noexcept = default;
Pager::~Pager() = default;

Result<Pager> Pager::create(const PagerOptions& options) {
  auto core = pager::Core::create(options);
  if (!core) return Unexpected(core.error());
  return Pager(std::move(*core));
}

Result<Mapping> Pager::map(std::shared_ptr<Store> store, const MapOptions& options) const {
  auto region = core_->map(std::move(store), options);
  if (!region) return Unexpected(region.error());
  return Mapping(core_, std::move(*region));
}

EngineKind Pager::engine() const noexcept { return core_->engine(); }
WriteTracking Pager::write_tracking() const noexcept { return core_->write_tracking(); }
Statistics Pager::statistics() const { return core_->statistics(); }
std::vector<PageError> Pager::errors() const { return core_->errors(); }

}  // namespace userfault

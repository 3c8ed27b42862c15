// SPDX-License-Identifier: Apache-2.0
// The public face of Core and Region.
#include "userfault/pager.h"

#include <algorithm>
#include <utility>

#include "pager/core.h"

namespace userfault {

Mapping::Mapping(std::shared_ptr<pager::Core> core, std::shared_ptr<pager::Region> region) noexcept
    : core_(std::move(core)), region_(std::move(region)) {}

Mapping::Mapping(Mapping&&) noexcept = default;

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    close();
    core_ = std::move(other.core_);
    region_ = std::move(other.region_);
  }
  return *this;
}

Mapping::~Mapping() { close(); }

void Mapping::close() noexcept {
  if (region_ != nullptr) core_->close(*region_);
  region_.reset();
  core_.reset();
}

std::byte* Mapping::data() const noexcept { return static_cast<std::byte*>(region_->range().data()); }
std::size_t Mapping::size() const noexcept { return static_cast<std::size_t>(region_->store().size()); }
std::size_t Mapping::page_size() const noexcept { return region_->page_size(); }

bool Mapping::resident(std::size_t offset) const noexcept {
  return region_->states().get(offset / region_->page_size()) == pager::PageState::kResident;
}

void Mapping::prefetch(std::size_t offset, std::size_t length) const {
  const std::size_t page = region_->page_size();
  const std::size_t end = std::min(size(), length > size() - std::min(offset, size()) ? size() : offset + length);
  if (offset >= end) return;
  core_->prefetch(*region_, {offset / page, (end + page - 1) / page - offset / page});
}

void Mapping::wait_for_prefetch() const { core_->wait_for_prefetch(*region_); }

Pager::Pager(std::shared_ptr<pager::Core> core) noexcept : core_(std::move(core)) {}
Pager::Pager(Pager&&) noexcept = default;
Pager& Pager::operator=(Pager&&) noexcept = default;
Pager::~Pager() = default;

Result<Pager> Pager::create(const PagerOptions& options) {
  auto core = pager::Core::create(options);
  if (!core) return std::unexpected(core.error());
  return Pager(std::move(*core));
}

Result<Mapping> Pager::map(std::shared_ptr<Store> store, const MapOptions& options) const {
  auto region = core_->map(std::move(store), options);
  if (!region) return std::unexpected(region.error());
  return Mapping(core_, std::move(*region));
}

EngineKind Pager::engine() const noexcept { return core_->engine(); }
Statistics Pager::statistics() const { return core_->statistics(); }
std::vector<PageError> Pager::errors() const { return core_->errors(); }

}  // namespace userfault

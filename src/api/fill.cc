// SPDX-License-Identifier: Apache-2.0
#include "api/fill.h"

namespace userfault {

Result<Transfer> Descriptor::copy(PageRange to, const void* from, CopyOptions options) const {
  return api::copy({engine_, fd_}, to, from, options);
}

Result<Transfer> Descriptor::zeropage(PageRange range, bool wake) const {
  return api::zeropage({engine_, fd_}, range, wake);
}

Result<Transfer> Descriptor::resume(PageRange range, ContinueOptions options) const {
  return api::resume({engine_, fd_}, range, options);
}

Result<Transfer> Descriptor::poison(PageRange range, bool wake) const {
  return api::poison({engine_, fd_}, range, wake);
}

Result<Transfer> Descriptor::move(PageRange to, std::uintptr_t from, MoveOptions options) const {
  return api::move({engine_, fd_}, to, from, options);
}

}  // namespace userfault

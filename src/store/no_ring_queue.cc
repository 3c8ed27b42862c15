// SPDX-License-Identifier: Apache-2.0
// In the place of ring_queue.cc where liburing is not there.
#include "store/file_queue.h"

namespace userfault::store {

std::unique_ptr<FileQueue> make_ring_queue() { return nullptr; }

}  // namespace userfault::store

// SPDX-License-Identifier: Apache-2.0
// clang's analysis has nothing against this.
#include "annotations/guarded.h"

void right(userfault::test::Guarded& guarded) { guarded.add_with_lock(); }

// SPDX-License-Identifier: Apache-2.0
// clang's analysis has to refuse this: it proves that the annotations are alive.
#include "annotations/guarded.h"

void userfault::test::Guarded::add_without_lock() { add(); }

// SPDX-License-Identifier: Apache-2.0
// System calls that newer architectures have not got: AArch64 has none of them.
#pragma once

#define USERFAULT_OLD_NUMBERS(TRAPPED, ASKED)

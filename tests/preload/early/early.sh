#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# early.sh USERFAULT PROGRAM LIBRARY: a library of the program calls each name that the preload library
# exports before that has run its own constructor.
set -euo pipefail
userfault=$1 program=$2 library=$3
fail() { echo "FAILED: $*" >&2; exit 1; }

called=$("$program" | sort) || fail "without the preload library: status $?"
exported=$(nm -D --defined-only "$library" | awk '{ print $NF }' | sort)
[ "$called" = "$exported" ] ||
  fail "not the names that are exported: $(diff <(echo "$exported") <(echo "$called") | grep '^[<>]' | tr '\n' ' ')"
for engine in auto user kernel; do
  "$userfault" run --engine $engine -- "$program" >/dev/null || fail "in a constructor, engine $engine: status $?"
  EARLY_IN_HANDLER=1 "$userfault" run --engine $engine -- "$program" >/dev/null ||
    fail "in a signal handler of a constructor's, engine $engine: status $?"
done

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An installed copy, found with find_package(userfault), builds and runs examples/hello.cc.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cmake -S "$source/tests/install/consumer" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
  -DHELLO_CC="$source/examples/hello.cc" >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "cmake configure"; }
cmake --build "$scratch/build" >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "cmake build"; }
readelf -d "$scratch/build/hello_shared" | grep -q 'NEEDED.*libuserfault\.so\.' || fail "hello_shared is not linked to the shared library"
if readelf -d "$scratch/build/hello_static" | grep -q 'NEEDED.*libuserfault'; then fail "hello_static needs the shared library"; fi
check_hello "$scratch/build/hello_shared"
check_hello "$scratch/build/hello_static"

# A version that this one does not promise to serve is refused.
if cmake -S "$source/tests/install/consumer" -B "$scratch/build2" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" -DHELLO_CC=none \
  -DCMAKE_PROJECT_INCLUDE="$source/tests/install/wants_99.cmake" >"$scratch/log" 2>&1; then
  fail "find_package(userfault 99) was satisfied"
fi
grep -q 'requested version "99"' "$scratch/log" || { cat "$scratch/log"; fail "refused for another reason than the version"; }

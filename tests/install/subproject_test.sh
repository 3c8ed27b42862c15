#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# As a part of another project's build the library needs neither CLI11 nor fmt nor GoogleTest, and its
# warnings are nobody's errors. One file of the library is compiled: the rest is what every build compiles.
set -euo pipefail
source=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { cat "$scratch/log"; echo "FAILED: $*" >&2; exit 1; }
cmake -G Ninja -S "$source/tests/install/subproject" -B "$scratch/build" \
  -DUSERFAULT_SOURCE="$source" -DHELLO_CC="$source/examples/hello.cc" \
  -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON \
  -DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON >"$scratch/log" 2>&1 || fail "cmake configure"
names=userfault/src/CMakeFiles/userfault_objects.dir/abi/names.cc.o
ninja -C "$scratch/build" -v "$names" >"$scratch/log" 2>&1 || fail "building $names"
if grep -q -e -Werror "$scratch/log"; then fail "-Werror in another project's build"; fi

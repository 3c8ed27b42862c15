#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tests of label stress in the release build and under the sanitizers, the differential fuzzer, and
# then every test of the release build STRESS_REPEAT times over. Goes on after a failure, and ends with a
# line for each part. USERFAULT_STRESS_SECONDS (of each test) and USERFAULT_STRESS_SEQUENCES make it
# longer or shorter.
# usage: scripts/stress.sh      as `make stress` does, which installs what it needs
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
summary=()
status=0
part() { # NAME COMMAND...
  local name=$1 started=$SECONDS result=passed
  shift
  "$@" || { result=FAILED; status=1; }
  summary+=("$(printf '%-32s %s, %d s' "$name" "$result" $((SECONDS - started)))")
}
long() { TEST_JOBS=1 CTEST_ARGS="-C Stress $2" scripts/test.sh "$1"; }

part 'stress, release' long release '-L stress'
part 'stress, asan-ubsan' long asan-ubsan '-L stress'
part 'stress, tsan' long tsan '-L stress'
part 'the fuzzer, clang' long clang '-R ^fuzz.*differential'
part "every test, ${STRESS_REPEAT:-3} times" env \
  TEST_JOBS=1 CTEST_ARGS="-LE install|stress --repeat until-fail:${STRESS_REPEAT:-3}" scripts/test.sh release
echo '=== stress'
printf '%s\n' "${summary[@]}"
exit $status

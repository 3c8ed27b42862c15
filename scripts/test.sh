#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures, builds and tests each preset, goes on after a failure, and ends with every skip's
# reason and one line: N passed, N failed, N skipped. A build that fails counts as one failure.
# usage: scripts/test.sh PRESET...      (release, dev, asan-ubsan, tsan, clang)
# CTEST_ARGS are handed to ctest, TEST_JOBS is how many tests run at once (two, where there are two processors).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=${JOBS:-$(nproc)}
report=$(mktemp)
trap 'rm -f "$report"' EXIT

# TSan's shadow memory wants the program where it used to be: gcc 12's runtime dies with 32 bits of
# randomisation (vm.mmap_rnd_bits). A sandbox may refuse personality(2); then it is tried without.
without_randomisation() {
  if setarch -R true 2>/dev/null; then setarch -R "$@"; else "$@"; fi
}

run_ctest() {
  local preset=$1 junit=$2
  local command=(ctest --test-dir "${junit%/*}" --output-on-failure --no-tests=error -j "${TEST_JOBS:-$((jobs < 2 ? jobs : 2))}"
    --test-output-size-passed 10000000 --test-output-size-failed 10000000 --output-junit "$junit")
  # shellcheck disable=SC2206  # words are what CTEST_ARGS is for
  command+=(${CTEST_ARGS:-})
  case $preset in
    tsan) TSAN_OPTIONS=${TSAN_OPTIONS:-die_after_fork=0:second_deadlock_stack=1} without_randomisation "${command[@]}" ;;
    asan-ubsan) UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1} "${command[@]}" ;;
    *) "${command[@]}" ;;
  esac
}

# Of the tests that pass or are skipped a line every ten seconds (the summary counts them); all of the others.
progress() {
  local line next=0 tests='^ *[0-9]+/[0-9]+ Test +#[0-9]+: '
  while IFS= read -r line; do
    if [[ $line =~ ^\ +Start\ +[0-9]+: ]]; then continue; fi
    if [[ $line =~ $tests && $line =~ (Passed|\*\*\*Skipped) ]]; then
      [ "$SECONDS" -ge "$next" ] || continue
      next=$((SECONDS + 10))
      line=${line:0:100}
    fi
    printf '%s\n' "$line"
  done
}

test_preset() {
  local preset=$1 tree=$PWD/build-$1 status=0 started=$SECONDS
  [ "$preset" = release ] && tree=$PWD/build
  local junit=$tree/junit.xml
  if ! scripts/build.sh "$preset"; then
    printf 'fail\t(build)\ncount\t0\t1\t0\n' | sed "s/^/$preset\t/" >>"$report"
    return
  fi
  rm -f "$junit"
  echo "=== $preset: test"
  run_ctest "$preset" "$junit" | progress || status=$?
  if [ -s "$junit" ]; then awk -f scripts/summarise-tests.awk "$junit" >"$report.one"; else : >"$report.one"; fi
  if [ "$status" -ne 0 ] && ! grep -q '^fail' "$report.one"; then
    printf 'fail\t(ctest: exit %d)\ncount\t0\t1\t0\n' "$status" >>"$report.one"
  fi
  sed "s/^/$preset\t/" "$report.one" >>"$report"
  rm -f "$report.one"
  echo "=== $preset: $((SECONDS - started)) s"
}

for preset in "$@"; do
  if [ "$preset" = clang ] && ! command -v clang++-19 >/dev/null; then
    printf 'clang\tskip\t(the whole preset)\tclang++-19 is not installed and apt does not have it\nclang\tcount\t0\t0\t1\n' >>"$report"
    continue
  fi
  test_preset "$preset"
done

echo "=== summary"
awk -F '\t' '
  $2 == "skip" { reasons[$1 ": " $4]++; example[$1 ": " $4] = $3; if ($4 == "NO REASON GIVEN") ++silent }
  $2 == "fail" { print "FAILED " $1 ": " $3 }
  $2 == "count" { passed += $3; failed += $4; skipped += $5; printf "%s: %d passed, %d failed, %d skipped\n", $1, $3, $4, $5 }
  END {
    for (reason in reasons) printf "skipped %d x %s (%s)\n", reasons[reason], reason, example[reason]
    if (silent) { failed += silent; skipped -= silent; print "FAILED: a skip without a reason counts as a failure" }
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed > 0 || passed == 0
  }' "$report"

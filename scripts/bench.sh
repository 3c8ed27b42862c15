#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every benchmark, one after the other, after a build. Arguments go to each of
# them; one that a bench does not know ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob
benchmarks=(build/bin/*_bench)
[ ${#benchmarks[@]} -gt 0 ] || { echo "no benchmark in build/bin: was it built with USERFAULT_BENCH=ON?" >&2; exit 1; }
for benchmark in "${benchmarks[@]}"; do
  echo "== ${benchmark##*/}"
  "$benchmark" "$@"
done

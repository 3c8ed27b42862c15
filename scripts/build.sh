#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures and builds a preset, and says how far it is: a line every ten seconds where nobody watches
# a terminal. Everything that cmake and the compiler say is in BUILD/build.log.
# usage: scripts/build.sh PRESET [TARGET...]      JOBS is how many compilers run at once (one a processor)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
preset=${1?which preset?}
shift
tree=$PWD/build-$preset
[ "$preset" = release ] && tree=$PWD/build
jobs=${JOBS:-$(nproc)}
ccache=$(command -v ccache || true)
export CMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER-$ccache}
export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-$ccache}

# Seconds that the processes this shell has waited for were running.
processor_time() {
  local fields
  read -ra fields </proc/$$/stat
  echo $(((fields[15] + fields[16]) / $(getconf CLK_TCK)))
}

# Of ninja's steps one every ten seconds; whatever else there is, is what went wrong.
progress() {
  local line next=0
  while IFS= read -r line; do
    case $line in
      *Re-checking* | 'ninja: '[En]*) ;;
      '['*/*']'*)
        if [ "$SECONDS" -ge "$next" ]; then
          line=${line/Building * object /}
          line=${line/CMakeFiles\/*.dir\//}
          printf '%.99s\n' "  $line"
          next=$((SECONDS + 10))
        fi ;;
      /*/c++\ * | /*/cc\ * | env\ * | : | '') ;;
      *) printf '%.400s\n' "$line" ;;
    esac
  done
}

mkdir -p "$tree"
log=$tree/build.log
echo "=== $preset: configure"
if ! cmake --preset "$preset" >"$log" 2>&1; then
  tail -n 40 "$log"
  scripts/install-deps.sh --missing
  exit 1
fi
sed -n 's/^-- userfault: /  /p' "$log"
echo "=== $preset: build${*:+ $*}"
build=(cmake --build "$tree" -j "$jobs")
[ $# -eq 0 ] || build+=(--target "$@")
export NINJA_STATUS='[%f/%t] '
if [ -t 1 ]; then
  "${build[@]}" || exit 1
else
  "${build[@]}" 2>&1 | tee -a "$log" | progress || exit 1
fi
echo "=== $preset: built in $SECONDS s, with $(processor_time) s of processor time"

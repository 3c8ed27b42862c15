#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and tests on other distributions, in a root of debootstrap each; the kernel is this machine's.
# Ends with one line for each row: what was built, and how the unit and the conformance tests went.
# usage: scripts/test-distros.sh [SUITE:COMPILER...]     as root; without arguments every row below
# DISTROS is a folder that keeps the roots and the builds, MIRROR Debian's, UBUNTU_MIRROR Ubuntu's. What is
# tested is the last commit.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
kept=${DISTROS:-${TMPDIR:-/tmp}/userfault-distros}
mirror=${MIRROR:-http://deb.debian.org/debian}
ubuntu_mirror=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}
wanted=("$@")
[ $# -gt 0 ] || wanted=(bookworm:g++-12 bookworm:clang-16 trixie:g++-14 trixie:clang-17 trixie:clang-18
  trixie:clang-19 sid:g++-15 sid:clang-19 jammy:g++-12 jammy:clang-16 noble:g++-13 noble:g++-14 noble:clang-18)

is_ubuntu() { [ "$1" = jammy ] || [ "$1" = noble ]; }

# Every mount is this process's own, and gone with it.
if [ -z "${USERFAULT_DISTROS_INNER:-}" ]; then
  [ "$(id -u)" -eq 0 ] || { echo "test-distros.sh: a chroot takes root" >&2; exit 1; }
  scripts/install-deps.sh --distros || exit 1
  mkdir -p "$kept"
  export USERFAULT_DISTROS_INNER=1
  exec unshare --mount --propagation private "$0" "${wanted[@]}"
fi

inside() { # ROOT COMMAND...
  local root=$1
  shift
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive TMPDIR=/tmp chroot "$root" "$@"
}

make_root() { # SUITE ROOT
  [ -e "$2/.made" ] && return
  local arguments=(--variant=minbase)
  rm -rf "$2"
  if is_ubuntu "$1"; then
    # A release that this debootstrap does not know yet is made as every other.
    local known=/usr/share/debootstrap/scripts/$1
    [ -e "$known" ] || known=/usr/share/debootstrap/scripts/jammy
    arguments+=('--components=main,universe' "$1" "$2" "$ubuntu_mirror" "$known")
    # Debian 12 has no package of Ubuntu's keys; apt in the root checks what comes after.
    local keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
    if [ -e "$keys" ]; then arguments=("--keyring=$keys" "${arguments[@]}"); else arguments=(--no-check-gpg "${arguments[@]}"); fi
  else
    arguments+=("$1" "$2" "$mirror")
  fi
  debootstrap "${arguments[@]}" || return 1
  if is_ubuntu "$1"; then
    echo "deb $ubuntu_mirror $1-updates main universe" >>"$2/etc/apt/sources.list"
  fi
  touch "$2/.made"
}

mount_kernel() { # ROOT
  mountpoint -q "$1/proc" && return
  mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --rbind /dev "$1/dev"
}

# Prints what the suite has not; installs nothing then.
install_packages() { # ROOT COMPILER
  local root=$1 package lacking=() packages
  mapfile -t packages < <(scripts/install-deps.sh --test --list | grep -vxE 'g\+\+|gdb|man-db|groff-base|shellcheck')
  packages+=("$2")
  inside "$root" apt-get update -q >&2 || return 1
  for package in "${packages[@]}"; do
    [[ $(inside "$root" apt-cache policy "$package") =~ 'Candidate: '[0-9] ]] || lacking+=("$package")
  done
  if [ ${#lacking[@]} -gt 0 ]; then
    echo "${lacking[*]}"
    return
  fi
  inside "$root" apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
}

build_and_test() { # ROOT COMPILER
  local root=$1 cxx=$2 cc=${2/g++/gcc} build
  [[ $cxx == clang-* ]] && cxx=clang++-${cxx#clang-}
  build=/build/$2
  rm -rf "$root/src"
  mkdir -p "$root/src" "$root/build"
  git archive HEAD | tar -x -C "$root/src" || return 1
  inside "$root" sh -ec "cd /src
    cmake --preset release -B $build -DCMAKE_C_COMPILER=$cc -DCMAKE_CXX_COMPILER=$cxx -DUSERFAULT_BENCH=OFF
    ninja -C $build -k 0 -j ${JOBS:-$(nproc)} tests/unit/all tests/conformance/all userfault userfault_shared" || return 1
  inside "$root" sh -c "for part in unit conformance; do
    ctest --test-dir $build/tests/\$part --output-on-failure --test-output-size-passed 10000000 -j 2 --output-junit $build/\$part.xml
  done"
}

count() { # ROOT COMPILER
  local part passed failed skipped
  for part in unit conformance; do
    read -r passed failed skipped < <(awk -f scripts/summarise-tests.awk "$1/build/$2/$part.xml" |
      awk -F '\t' '$1 == "count" { print $2, $3, $4 }') || return 1
    printf ', %s %d passed, %d failed, %d skipped' "$part" "$passed" "$failed" "$skipped"
  done
}

status=0
summary=()
for row in "${wanted[@]}"; do
  suite=${row%%:*} compiler=${row#*:} root=$kept/${row%%:*}
  log=$kept/${row/:/-}.log
  started=$SECONDS
  echo "== $row (everything it says is in $log)"
  if ! make_root "$suite" "$root" >"$log" 2>&1; then
    result='FAILED: no root' status=1
  elif ! mount_kernel "$root" || ! absent=$(install_packages "$root" "$compiler" 2>>"$log"); then
    result='FAILED: no packages' status=1
  elif [ -n "$absent" ]; then
    result="left out: $suite has no $absent"
  elif build_and_test "$root" "$compiler" >>"$log" 2>&1; [ ! -e "$root/build/$compiler/conformance.xml" ]; then
    result="FAILED: it does not build: $(grep -m1 -oE '(error|Error|FAILED): .*' "$log" | cut -c1-120)" status=1
  else
    result="built$(count "$root" "$compiler")"
    [[ $result =~ unit\ [1-9].*,\ 0\ failed.*conformance\ [1-9].*,\ 0\ failed ]] || status=1
  fi
  rm -f "$root/build/$compiler"/{unit,conformance}.xml
  summary+=("$(printf '%-20s %s, %d s' "$row" "$result" $((SECONDS - started)))")
  echo "${summary[-1]}"
done
echo '=== distributions'
printf '%s\n' "${summary[@]}"
exit $status

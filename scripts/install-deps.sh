#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what a build needs on Debian or Ubuntu; silent when all of it is there.
# --test adds what only tests need, --clang adds clang 19 where apt has it, --kernels what boots another
# kernel, --distros what makes another distribution's root. --missing installs nothing and says what is not there,
# --list prints the packages.
set -euo pipefail
packages=(g++ cmake make ninja-build pkg-config libgtest-dev libcli11-dev libfmt-dev liburing-dev libzstd-dev gdb)
optional=()
action=install
for argument in "$@"; do
  case $argument in
    --test)
      packages+=(zstd binutils util-linux man-db groff-base shellcheck)
      optional+=(clang-format-14) ;;
    --clang) optional+=(clang-19 libclang-rt-19-dev) ;;
    --kernels) packages+=(qemu-system-x86 busybox-static cpio curl xz-utils) ;;
    --distros) packages+=(debootstrap git) ;;
    --missing) action=say ;;
    --list) printf '%s\n' "${packages[@]}"; exit 0 ;;
    *) echo "usage: install-deps.sh [--test] [--clang] [--kernels] [--distros] [--missing|--list]" >&2; exit 2 ;;
  esac
done

installed() { [ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = 'install ok installed' ]; }
if ! command -v dpkg-query >/dev/null; then
  echo "install-deps.sh: not Debian or Ubuntu; install by hand what is missing of: ${packages[*]}" >&2
  exit 0
fi
missing=()
for package in "${packages[@]}" "${optional[@]}"; do
  installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$action" = say ]; then
  echo "These packages are not installed: ${missing[*]}. \`make deps\` installs them." >&2
  exit 0
fi

sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
$sudo apt-get update -q
for package in "${optional[@]}"; do
  # Without a candidate the preset clang or the check of the format is skipped, with that as its reason.
  [[ $(apt-cache policy "$package" 2>/dev/null) =~ 'Candidate: '[0-9] ]] ||
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | grep -vx "$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
# Somebody else's apt may hold the lock for a while.
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the programs that test-programs.sh runs, from the distribution's packages. A package that
# the distribution does not have only costs the rows that need it.
set -euo pipefail
packages=(gcc libc6-dev make binutils xz-utils util-linux python3 git stress-ng qemu-system-x86 redis-server
  libjemalloc2 libeatmydata1 linux-source-6.1)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
# Installing redis-server would start a server; nobody asked for one.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
apt-get update -q
for package in "${missing[@]}"; do
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package" ||
    echo "install.sh: $package is not to be had here" >&2
done

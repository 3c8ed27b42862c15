#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The conformance suite on kernels that Debian has, each in a virtual machine (QEMU, emulated where there
# is no /dev/kvm), after a build. Nothing of the running system is changed but for the packages.
# usage: scripts/test-kernels.sh [--build DIR] [--only IDS] [SUITE:VERSION...]
#        without arguments: bookworm:6.1 trixie:6.12 trixie-backports: (its newest)
# What only the user engine fails is printed, and makes the exit status 1.
# MIRROR is Debian's, KERNELS a folder that keeps what was fetched, TIME_LIMIT the seconds of a test.
set -euo pipefail
cd "$(dirname "$0")/.."
mirror=${MIRROR:-http://deb.debian.org/debian}
kept=${KERNELS:-${TMPDIR:-/tmp}/userfault-kernels}
build=build
only=()
wanted=()
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift ;;
    --only) only+=("$2"); shift ;;
    -*) sed -n '3,8s/^# //p' "$0" >&2; exit 2 ;;
    *) wanted+=("$1") ;;
  esac
  shift
done
[ ${#wanted[@]} -gt 0 ] || wanted=(bookworm:6.1 trixie:6.12 trixie-backports:)
scripts/install-deps.sh --kernels
mkdir -p "$kept"
root=$(mktemp -d)
trap 'rm -rf "$root" "$root.gz"' EXIT

# Prints "FILE SHA256" of the newest package of SUITE that holds a kernel image of VERSION. Newer ones have
# it in linux-binary.
find_package() { # SUITE VERSION
  curl -fsS "$mirror/dists/$1/main/binary-amd64/Packages.xz" | xz -d | awk -v version="${2//./\\.}" '
    /^Package: /{ kernel = $2 ~ "^linux-(image|binary)-" version "[0-9.]*.*cloud-amd64$" }
    /^Filename: /{ file = $2 }
    /^SHA256: /{ if (kernel) print file, $2 }' | sort -V | awk '{ image[$1 ~ /linux-binary/] = $0 }
    END { print image[1] != "" ? image[1] : image[0] }'
}

# Called where the shell does not end at the first failure.
fetch_kernel() { # SUITE VERSION -> path of the image
  local file sum package
  read -r file sum < <(find_package "$1" "$2")
  [ -n "$file" ] || { echo "test-kernels.sh: $mirror has no kernel $2 in $1" >&2; return 1; }
  package=$kept/$(basename "$file")
  if [ ! -f "$package" ]; then
    curl -fsS -o "$package.part" "$mirror/$file" && mv "$package.part" "$package" || return 1
  fi
  echo "$sum  $package" | sha256sum --check --quiet >&2 || { rm -f "$package"; return 1; }
  dpkg-deb -x "$package" "$package.d" || return 1
  find "$package.d" -name 'vmlinuz*' -type f | head -1 | grep .
}

make_root() {
  mkdir -p "$root"/{bin,dev,etc,lib,proc,sys,tmp}
  cp /bin/busybox "$build/bin/userfault" "$root/bin/"
  ldd "$build/bin/userfault" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
  done
  echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
  cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm; mount -t tmpfs tmp /tmp; ip link set lo up
echo 256 > /proc/sys/vm/nr_hugepages
for engine in kernel user; do
  userfault conform --engine \$engine --time-limit ${TIME_LIMIT:-120} ${only[*]:+--only ${only[*]}} 2>&1 | sed "s/^/\$engine: /"
done
poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$root.gz"
}

failed() { tr -d '\r' <"$log" | grep -aE "^$1: fail" | awk '{ print $3, $4 }' | sort; }

accelerate=(-accel 'tcg,thread=multi' -cpu max)
[ -w /dev/kvm ] && accelerate=(-accel kvm -cpu host)
make_root
status=0
for entry in "${wanted[@]}"; do
  kernel=$(fetch_kernel "${entry%%:*}" "${entry#*:}") || { status=1; continue; }
  log=${kernel%%.deb.d/*}.log
  echo "== $(basename "$log" .log) (everything it says is in $log)"
  timeout "${BOOT_LIMIT:-7200}" qemu-system-x86_64 "${accelerate[@]}" -smp 2 -m 2048 -nographic -no-reboot \
    -kernel "$kernel" -initrd "$root.gz" -append 'console=ttyS0 quiet panic=-1' </dev/null >"$log" 2>&1 || status=1
  tr -d '\r' <"$log" | grep -aE '^(kernel|user): engine' || echo "nothing was tested"
  [ "$(grep -acE '^(kernel|user): engine' "$log")" -eq 2 ] || status=1
  alone=$(comm -13 <(failed kernel) <(failed user))
  [ -z "$alone" ] || { printf 'fails on the user engine alone:\n%s\n' "$alone"; status=1; }
done
exit $status

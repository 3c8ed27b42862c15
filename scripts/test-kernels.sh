#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The conformance suite on kernels that Debian has, each engine in a virtual machine of its own (QEMU), after a
# build. KVM is used where a guest really boots with it, emulation elsewhere. Nothing of the running system is
# changed but for the packages.
# usage: scripts/test-kernels.sh [--build DIR] [--only IDS] [--engine kernel|user] [SUITE:VERSION...]
#        without arguments: both engines on bookworm:6.1 trixie:6.12 trixie-backports: (its newest)
# What only the user engine fails is printed, and makes the exit status 1; so does a machine that did not get to the
# suite's last line. The table at the end names the commit.
# MIRROR is Debian's, KERNELS a folder that keeps what was fetched, TIME_LIMIT the seconds of a test, BOOT_LIMIT those
# of a machine.
set -euo pipefail
cd "$(dirname "$0")/.."
mirror=${MIRROR:-http://deb.debian.org/debian}
kept=${KERNELS:-${TMPDIR:-/tmp}/userfault-kernels}
build=build
only=()
wanted=()
engines=()
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift ;;
    --only) only+=("$2"); shift ;;
    --engine) engines+=("$2"); shift ;;
    -*) sed -n '3,11s/^# //p' "$0" >&2; exit 2 ;;
    *) wanted+=("$1") ;;
  esac
  shift
done
[ ${#engines[@]} -gt 0 ] || engines=(kernel user)
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
engine=\$(sed -n 's/.*userfault.engine=\\([a-z]*\\).*/\\1/p' /proc/cmdline)
echo "booted for \$engine"
[ "\$engine" = none ] || userfault conform --engine \$engine --time-limit ${TIME_LIMIT:-120} \
  ${only[*]:+--only ${only[*]}} 2>&1 | sed "s/^/\$engine: /"
poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$root.gz"
}

# One machine, which ends when its engine's suite has.
boot() { # KERNEL ENGINE LIMIT ACCELERATION...
  local kernel=$1 engine=$2 limit=$3
  shift 3
  timeout "$limit" qemu-system-x86_64 "$@" -smp 2 -m 2048 -nographic -no-reboot -kernel "$kernel" -initrd "$root.gz" \
    -append "console=ttyS0 quiet panic=-1 userfault.engine=$engine" </dev/null 2>&1 | tr -d '\r'
}

# Sets `accelerate`. /dev/kvm may be there and no guest start with it (a nested machine without the registers that
# -cpu host promises), so a guest is started for nothing first.
choose_acceleration() { # KERNEL
  local way
  for way in '-accel kvm -cpu host' '-accel kvm -cpu host,arch-capabilities=off' '-accel kvm -cpu qemu64'; do
    [ -w /dev/kvm ] || break
    read -ra accelerate <<<"$way"
    if boot "$1" none 60 "${accelerate[@]}" | grep -aq '^booted for none'; then
      echo "== QEMU with $way"
      return
    fi
    echo "test-kernels.sh: no guest boots with $way" >&2
  done
  accelerate=(-accel 'tcg,thread=multi' -cpu max)
  echo '== QEMU with emulated processors'
}

failed() { grep -aE "^$1: fail" "$log.$1" | awk '{ print $3, $4 }' | sort; }

make_root
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
accelerate=()
table=$(mktemp)
status=0
for entry in "${wanted[@]}"; do
  kernel=$(fetch_kernel "${entry%%:*}" "${entry#*:}") || { status=1; continue; }
  [ ${#accelerate[@]} -gt 0 ] || choose_acceleration "$kernel"
  log=${kernel%%.deb.d/*}
  name=$(basename "$log")
  for engine in "${engines[@]}"; do
    echo "== $name, $engine engine (everything it says is in $log.$engine)"
    boot "$kernel" "$engine" "${BOOT_LIMIT:-7200}" "${accelerate[@]}" >"$log.$engine" || true
    if ! last=$(grep -aE "^$engine: engine" "$log.$engine"); then
      last='did not get to its end'
      status=1
    fi
    printf '%s | %s | %s\n' "$name" "$engine" "${last#"$engine: "}" | tee -a "$table"
  done
  [ "${#engines[@]}" -eq 2 ] || continue
  alone=$(comm -13 <(failed kernel) <(failed user))
  [ -z "$alone" ] || { printf 'fails on the user engine alone:\n%s\n' "$alone"; status=1; }
done
echo "== commit $commit"
cat "$table"
rm -f "$table"
exit $status

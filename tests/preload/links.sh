#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# links.sh LIBRARY EXPORTS_MAP: the preload library needs libc and the loader alone, and defines
# exactly the names of the map, so that it can stand before any program's libraries.
set -euo pipefail
library=$1 map=$2
fail() { echo "FAILED: $*" >&2; exit 1; }
needed=$(readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -Ev '^(libc\.so|ld-linux)' || true)
[ -z "$needed" ] || fail "it needs $needed"
! readelf -dW "$library" | grep -q TEXTREL || fail "it has text relocations"
defined=$(nm -D --defined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' | sort -u)
wanted=$(sed -n '/global:/,/local:/p' "$map" | grep -oE '[A-Za-z_][A-Za-z0-9_]*;' | tr -d ';' | sort -u)
[ "$defined" = "$wanted" ] || fail "exports: $(diff <(echo "$wanted") <(echo "$defined") | grep '^[<>]' | tr '\n' ' ')"

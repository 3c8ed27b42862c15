#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# links.sh LIBRARY CALLS_H PRELOAD_MD: the preload library needs libc and the loader alone, and defines
# exactly the names of the list, so that it can stand before any program's libraries. The document has
# the same names.
set -euo pipefail
library=$1 calls=$2 document=$3
fail() { echo "FAILED: $*" >&2; exit 1; }
needed=$(readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -Ev '^(libc\.so|ld-linux)' || true)
[ -z "$needed" ] || fail "it needs $needed"
! readelf -dW "$library" | grep -q TEXTREL || fail "it has text relocations"
defined=$(nm -D --defined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' | sort -u)
wanted=$(sed -nE 's/^  (FORWARDED|ALIAS|OWN)\(([A-Za-z0-9_]+).*/\2/p' "$calls" | sort -u)
[ "$defined" = "$wanted" ] || fail "exports: $(diff <(echo "$wanted") <(echo "$defined") | grep '^[<>]' | tr '\n' ' ')"
told=$(sed -n '/^## Every name/,$p' "$document" | sed -n '/^```/,/^```/p' | grep -v '^```' | tr -s ' ' '\n' | sort -u)
[ "$told" = "$wanted" ] || fail "$document: $(diff <(echo "$wanted") <(echo "$told") | grep '^[<>]' | tr '\n' ' ')"

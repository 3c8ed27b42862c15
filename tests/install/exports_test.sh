#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The shared library exports the functions of userfault.h, the marked part of namespace userfault,
# and nothing else: not a private namespace, not an instance of a standard template.
# usage: exports_test.sh SOURCE_TREE LIBRARY
set -euo pipefail
source=$1
library=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The C functions that are declared and those that are exported, both ways.
sed -n 's/^USERFAULT_EXPORT [^(]*[ *]\(userfault_[a-z_]*\)(.*/\1/p' "$source/include/userfault/userfault.h" |
  sort >"$scratch/declared"
nm -D --defined-only "$library" | awk '{print $3}' | sed 's/@.*//' | grep '^userfault_' | sort >"$scratch/exported"
[ -s "$scratch/declared" ] || { echo "no declaration was found in userfault.h"; exit 1; }
diff "$scratch/declared" "$scratch/exported" || { echo "< declared in userfault.h, > exported"; exit 1; }

# Everything else is the version's own name, or C++ of ours and public.
private='^(vtable for |typeinfo (name )?for |guard variable for )?userfault::(api|base|engine|machine|tools|.*\(anonymous namespace\))::'
public='^(vtable for |typeinfo (name )?for )?userfault::'
nm -DC --defined-only "$library" | cut -d' ' -f3- | sed 's/@.*//' |
  grep -vE '^userfault_[a-z_]*$|^USERFAULT_[0-9]+$' >"$scratch/cpp"
if grep -E "$private" "$scratch/cpp"; then echo "private, yet exported"; exit 1; fi
if grep -vE "$public" "$scratch/cpp"; then echo "not ours, yet exported"; exit 1; fi
grep -q '^userfault::Descriptor::open(' "$scratch/cpp" || { echo "Descriptor::open is not exported"; exit 1; }

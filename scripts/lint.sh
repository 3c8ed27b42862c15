#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What other programs check of the tree: format, its C++ by clang-format 14 and .clang-format; shell, its
# scripts by shellcheck (warnings and errors). Exit status 77 is a skip, whose reason is printed.
# usage: scripts/lint.sh format|shell
set -euo pipefail
cd "$(dirname "$0")/.."
skip() { echo "$1"; exit 77; }

# A tree without git, as an archive of it, has no build folders of ours in the way either.
files() { # PATTERN...
  local pattern names=()
  if git ls-files --error-unmatch scripts/lint.sh >/dev/null 2>&1; then git ls-files -- "$@"; return; fi
  for pattern in "$@"; do names+=(-o -name "$pattern"); done
  find . -path './build*' -prune -o \( -false "${names[@]}" \) -type f -print
}

case ${1-} in
  format)
    formatter=
    for candidate in clang-format-14 clang-format; do
      if [[ $("$candidate" --version 2>/dev/null) =~ version\ 14\. ]]; then formatter=$candidate; break; fi
    done
    [ -n "$formatter" ] || skip 'no clang-format 14 is installed, and others lay out differently'
    # The C headers have a layout of their own.
    files '*.cc' '*.h' | grep -vE '(^|/)include/userfault/(abi|userfault|export)\.h$' | xargs "$formatter" --dry-run -Werror ;;
  shell)
    command -v shellcheck >/dev/null || skip 'shellcheck is not installed'
    { files '*.sh'; echo .ci/run; } | xargs shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning ;;
  *) sed -n '3,6s/^# //p' "$0" >&2; exit 2 ;;
esac

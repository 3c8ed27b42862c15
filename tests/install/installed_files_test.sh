#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that belongs into an installed copy is there: every public header; both libraries with
# their links; the command, which runs; every page of man/. That the headers compile alone is asked by
# languages_test.sh.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
for header in "$source"/include/userfault/*.h; do
  name=userfault/${header##*/}
  installed=$(find "$prefix" -path "*/include/$name")
  [ -n "$installed" ] || fail "$name was not installed"
done
for page in "$source"/man/*.[1-8]; do
  find "$prefix" -path "*/man/man${page##*.}/${page##*/}" | grep -q . || fail "${page##*/} was not installed"
done
for library in libuserfault.a libuserfault.so "libuserfault.so.${VERSION%.*}" "libuserfault.so.$VERSION"; do
  find "$prefix" -name "$library" | grep -q . || fail "$library was not installed"
done
soname=$(readelf -d "$(find "$prefix" -name libuserfault.so)" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = "libuserfault.so.${VERSION%.*}" ] || fail "the shared library's soname is '$soname'"
if [ -x "$prefix/bin/userfault" ]; then
  [ "$("$prefix/bin/userfault" version)" = "userfault $VERSION" ] || fail "the installed command has another version"
fi

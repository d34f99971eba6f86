#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Each header of the SDK compiles alone, twice in a row, as C99 and as C++11, with warnings as errors.
set -eu
src=${CWP_SRCDIR:-$(cd "$(dirname "$0")/../../.." && pwd)}
cc=${CC:-cc}
cxx=${CXX:-c++}
command -v "${cxx%% *}" >/dev/null 2>&1 || { echo "no C++ compiler ($cxx): install g++ or set CXX"; exit 77; }
folder=$(mktemp -d "${TMPDIR:-/tmp}/cwb-headers-XXXXXX")
trap 'rm -rf "$folder"' EXIT
flags="-Wall -Wextra -Wpedantic -Werror -Wno-unused-variable -fsyntax-only -I$src/include"

# $cc and $cxx may hold flags, so they are split.
# shellcheck disable=SC2086
compile_c() {
	$cc -std=c99 $flags "$1"
}
# shellcheck disable=SC2086
compile_cxx() {
	$cxx -x c++ -std=c++11 $flags "$1"
}

# A header that only C11 takes must fail, else the flags say nothing.
printf '_Static_assert(sizeof(int) == 1, "never");\n' >"$folder/bad.c"
if compile_c "$folder/bad.c" 2>/dev/null || compile_cxx "$folder/bad.c" 2>/dev/null; then
	echo "self-test: the compilers accept anything"
	exit 1
fi

count=0
for header in "$src"/include/cwp/*.h; do
	name=${header##*/}
	printf '#include <cwp/%s>\n#include <cwp/%s>\nint main(void) { return 0; }\n' "$name" "$name" >"$folder/alone.c"
	compile_c "$folder/alone.c" || { echo "$name does not compile alone as C99"; exit 1; }
	compile_cxx "$folder/alone.c" || { echo "$name does not compile alone as C++11"; exit 1; }
	count=$((count + 1))
done
[ "$count" -ge 7 ] || { echo "only $count headers found below $src/include/cwp"; exit 1; }
echo "$count headers compile alone as C99 and C++11"

#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Every plugin of the project exports one symbol, cwp_plugin, and is accepted by cwp-probe under the id of its file.
set -eu
build=${CWP_BUILDDIR:-.}
plugins=${CWP_PLUGIN_DIR:-$build/plugins/.libs}
nm=${NM:-nm}
command -v "${nm%% *}" >/dev/null 2>&1 || { echo "no $nm: install binutils"; exit 77; }

count=0
for file in "$plugins"/*.so; do
	symbols=$($nm -D --defined-only "$file" | awk '{print $3}')
	[ "$symbols" = cwp_plugin ] || { echo "$file exports: $symbols"; exit 1; }
	id=$(basename "$file" .so)
	"$build/cwp-probe" "$file" | grep -q "^{\"id\":\"$id\"," || { echo "$file: cwp-probe does not accept it as $id"; exit 1; }
	count=$((count + 1))
done
[ "$count" -ge 6 ] || { echo "only $count plugins in $plugins"; exit 1; }

# The test itself must notice a file that exports more.
symbols=$($nm -D --defined-only "$build/tests/plugins/zoo/.libs/function_symbol.so" | awk '{print $2}')
[ "$symbols" = T ] || { echo "self-test: the mock's symbol is of type '$symbols', not T"; exit 1; }
echo "$count plugins export cwp_plugin alone"

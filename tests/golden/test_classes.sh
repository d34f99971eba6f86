#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# The checked-in table of Unicode classes is what its script makes of the reference's list.
set -eu
list=${CWP_SHARED:-}/golden/tokens/unicode-classes.json
if [ ! -r "$list" ]; then
	echo "$list is absent"
	exit 77
fi
python3 "$CWP_SRCDIR/scripts/unicode-classes.py" "$list" | cmp - "$CWP_SRCDIR/engine/text/classes_table.c"

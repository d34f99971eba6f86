#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Prints C source with the text of the interface files that are named, as strings cwd_idl_<file's name with _>.
set -eu
echo '/* Made by daemon/ctl/idl/embed.sh from the .varlink files. */'
echo '#include "daemon/ctl/idl.h"'
for file; do
	name=$(basename "$file" .varlink | tr . _)
	echo
	echo "const char cwd_idl_${name}[] ="
	sed -e 's/[\\"]/\\&/g' -e 's/^/	"/' -e 's/$/\\n"/' "$file"
	echo '	;'
done

#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Checks each #include line of the tree against the table of doc/conventions.md: who may include whom. The table there
# is the only list; this script reads it. With --self-test it first proves that it finds planted offences.
set -eu
export LC_ALL=C

check() { # check ROOT: prints offences, exit status 1 when there are any
	python3 - "$1" <<'PYTHON'
import os, re, sys

root = sys.argv[1]
table = {}
for line in open(os.path.join(root, "doc/conventions.md"), encoding="utf-8"):
    m = re.match(r"\|\s*`([a-z/]+)/`\s*\|[^|]*\|[^|]*\|([^|]*)\|\s*$", line)
    if m:
        table[m.group(1)] = [w.strip().strip("`").rstrip("/") for w in m.group(2).split(",")]
wanted = {"include/cwp", "base", "job", "wire", "engine", "daemon", "worker", "probe", "cli", "inspect", "plugins"}
if set(table) != wanted:
    sys.exit("doc/conventions.md: rooms are %s, expected %s" % (sorted(table), sorted(wanted)))

def allowed(room):
    """What a room may include: itself, its row, and what those may include in turn. A part of a room
    (engine/plugin) stands for itself and brings what its room may include, not the room."""
    reach, queue = set(), [room]
    while queue:
        r = queue.pop()
        if r in reach:
            continue
        reach.add(r)
        for w in table.get(r if r in table else r.split("/")[0], []):
            if w.startswith("SDK"):
                reach.add("include/cwp")
            elif w != "libc":
                queue.append(w)
    return reach

rooms = [r for r in table if r != "include/cwp"]
bad = []
files = 0
for room in rooms:
    reach = allowed(room)
    for folder, dirs, names in os.walk(os.path.join(root, room)):
        dirs.sort()
        for name in sorted(names):
            if not name.endswith((".c", ".h", ".inc.h")):
                continue
            path = os.path.join(folder, name)
            files += 1
            for number, line in enumerate(open(path, encoding="utf-8"), 1):
                m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                if not m:
                    continue
                kind, target = m.groups()
                where = "%s:%d" % (os.path.relpath(path, root), number)
                if target.startswith("cwp/"):
                    if "include/cwp" not in reach:
                        bad.append("%s: %s may not include the SDK" % (where, room))
                    continue
                if kind == "<":
                    if target.split("/")[0] in rooms and os.path.exists(os.path.join(root, target)):
                        bad.append("%s: write \"%s\", not <%s>" % (where, target, target))
                    continue
                if target == "config.h":
                    continue
                owner = next((r for r in sorted(reach, key=len, reverse=True)
                              if target.startswith(r + "/") or target == r + ".h"), None)
                if owner is None:
                    bad.append("%s: %s may not include \"%s\" (paths are from the top)" % (where, room, target))
# The SDK: libc and itself.
libc = {"stddef.h", "stdint.h"}
for name in sorted(os.listdir(os.path.join(root, "include/cwp"))):
    if name.endswith(".h"):
        files += 1
        for number, line in enumerate(open(os.path.join(root, "include/cwp", name), encoding="utf-8"), 1):
            m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if m and not (m.group(1) == "<" and (m.group(2) in libc or m.group(2).startswith("cwp/"))):
                bad.append("include/cwp/%s:%d: the SDK may not include %s" % (name, number, m.group(2)))
for line in bad:
    print(line)
print("%d files, %d offences" % (files, len(bad)))
sys.exit(1 if bad else 0)
PYTHON
}

src=${CWP_SRCDIR:-$(cd "$(dirname "$0")/../../.." && pwd)}

# Each planted line must be found, else a green result means nothing.
copy=$(mktemp -d "${TMPDIR:-/tmp}/cwb-includes-XXXXXX")
trap 'rm -rf "$copy"' EXIT
plant() { # plant ROOM FILE LINE EXPECTED(0 clean, 1 offence)
	rm -rf "$copy"
	mkdir -p "$copy/doc" "$copy/include/cwp" "$copy/$1"
	cp "$src/doc/conventions.md" "$copy/doc/"
	printf '%s\n' "$3" >"$copy/$1/$2"
	if check "$copy" >"$copy/out" 2>&1; then found=0; else found=1; fi
	if [ "$found" != "$4" ]; then
		echo "self-test: '$3' in $1/$2: expected status $4"
		cat "$copy/out"
		exit 1
	fi
}
plant base x.c '#include "job/job.h"' 1
plant base x.c '#include <cwp/error.h>' 0
plant wire x.c '#include "engine/format/weights.h"' 1
plant daemon x.c '#include "engine/format/weights.h"' 1
plant daemon x.c '#include "engine/plugin/note.h"' 0
plant probe x.c '#include "engine/plugin/note.h"' 0
plant probe x.c '#include "base/err.h"' 0
plant probe x.c '#include "engine/format/weights.h"' 1
plant cli x.c '#include "job/job.h"' 1
plant cli x.c '#  include "wire/message.h"' 0
plant worker x.c '#include "base/err.h"' 0
plant worker x.c '#include "daemon/store.h"' 1
plant engine x.c '#include "wire/message.h"' 1
plant plugins x.c '#include "base/err.h"' 1
plant plugins x.c '#include <cwp/plugin.h>' 0
plant job x.c '#include "schema.h"' 1
plant include/cwp x.h '#include <stdio.h>' 1

check "$src"

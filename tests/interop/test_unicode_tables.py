#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The checked-in tables are what scripts/unicode-measured.py measures at the reference library, and agree with the reference data's
list of what its normalizer does not know. Exit 77 when the library is absent."""
import json
import os
import re
import subprocess
import sys

from engines import find_python, skip

if "san" in os.path.basename(os.environ.get("CWP_BUILDDIR", "")):
    skip("nothing of the build takes part: once is enough")
find_python()

try:
    import tokenizers  # noqa: F401
except ImportError:
    skip("the package tokenizers is not installed (scripts/packages --python)")

SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LIST = os.path.join(os.environ.get("CWP_SHARED", ""), "golden", "tokens", "unicode-classes.json")
TABLES = {"classes": "classes_measured.c", "normal": "normal_table.c"}


def read(name):
    with open(os.path.join(SRC, "engine", "text", name), encoding="utf-8") as f:
        return f.read()


def entries(text, name, count):
    body = re.search(re.escape(name) + r"\[\d+\] = \{(.*?)\};", text, re.S).group(1)
    found = re.findall(r"\{" + ", ".join([r"(\w+)"] * count) + r"\}", body)
    return [tuple(int(x, 0) for x in entry) for entry in found]


def main():
    failed = 0
    for kind, name in TABLES.items():
        script = os.path.join(SRC, "scripts", "unicode-measured.py")
        measured = subprocess.run([sys.executable, script, kind], check=True, stdout=subprocess.PIPE, text=True).stdout
        same = measured == read(name)
        print("%s %s" % ("ok  " if same else "FAIL", name), flush=True)
        failed += not same
    if not os.path.exists(LIST):
        skip("%s is absent" % LIST)
    with open(LIST, encoding="utf-8") as f:
        known = json.load(f)["nfc"]
    table = read("normal_table.c")
    marks = entries(table, "cwe_normal_marks", 3)
    for item in known["marks_without_combining_class"]:
        point = int(item, 16)
        if any(first <= point <= last for first, last, _ in marks):
            print("FAIL U+%s has a combining class" % item)
            failed += 1
    pairs = {(first, second) for first, second, _ in entries(table, "cwe_normal_pair", 3)}
    for item in known["not_composed"]:
        first, second = (int(x, 16) for x in item.split())
        if (first, second) in pairs:
            print("FAIL U+%s is composed" % item)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

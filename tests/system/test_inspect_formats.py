#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""README's tables of quantizers, formats and carriers are those that cwp-inspect makes of the declarations that jobs are
checked against; what they call refused is refused. With CWP_UPDATE=1 README is brought up to date instead."""
import os
import re
import subprocess
import sys
import unittest

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
README = os.path.join(SRC, "README.md")
INSPECT = os.path.join(BUILD, "cwp-inspect")
BEGIN, END = "<!-- cwp-inspect formats -->\n", "<!-- end -->\n"


def tables():
    return subprocess.run([INSPECT, "formats"], check=True, stdout=subprocess.PIPE, text=True).stdout


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


class Formats(unittest.TestCase):
    maxDiff = None

    def test_readme(self):
        with open(README, encoding="utf-8") as f:
            text = f.read()
        self.assertEqual(text.count(BEGIN), 1)
        self.assertEqual(text.split(BEGIN)[1].split(END)[0], tables(),
            "run: CWP_UPDATE=1 tests/system/test_inspect_formats.py")

    def test_cells(self):
        grids, carriers = (rows(part) for part in tables().split("\n\n"))
        for table in (grids, carriers):
            self.assertEqual({len(row) for row in table}, {len(table[0])})
            self.assertTrue(all(cell for row in table for cell in row))
        self.assertEqual(grids[0][2:], [row[0] for row in carriers[2:]])
        self.assertEqual(carriers[0][1:], ["overlay", "none", "dense", "modules", "adapter"])
        found = {row[0]: dict(zip(carriers[0][1:], row[1:])) for row in carriers[2:]}
        self.assertEqual(found["compressed-tensors"]["adapter"], "PEFT over transformers (test_carriers)")
        self.assertEqual(found["dense"]["adapter"], "refused")
        int2 = next(row for row in grids if row[1].startswith("bits 2"))
        self.assertEqual(dict(zip(grids[0], int2))["compressed-tensors"], "refused")

    def test_engines(self):
        """What is not refused was loaded with an engine of others, by a test that is there and is run."""
        with open(os.path.join(SRC, "tests", "interop", "Makefile.inc"), encoding="utf-8") as f:
            listed = re.findall(r"^TESTS \+= tests/interop/(\w+)\.py$", f.read(), re.M)
        for row in rows(tables().split("\n\n")[1])[2:]:
            for cell in row[1:]:
                if cell != "refused":
                    engine, test = re.fullmatch(r"([^()]+) \((test_\w+)\)", cell).groups()
                    self.assertNotIn("cwp-inspect", engine)
                    self.assertIn(test, listed)
                    with open(os.path.join(SRC, "tests", "interop", test + ".py"), encoding="utf-8") as f:
                        self.assertIn(row[0].split("-")[0], f.read(), cell)  # it speaks of the format

    def test_usage(self):
        done = subprocess.run([INSPECT, "formats", "operand"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 64)
        self.assertIn("wrong number of operands", done.stderr)
        self.assertEqual(subprocess.run([INSPECT, "verify"], stderr=subprocess.DEVNULL).returncode, 64)


def update():
    with open(README, encoding="utf-8") as f:
        text = f.read()
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    text = re.sub(pattern, lambda _: BEGIN + tables() + END, text, flags=re.S)
    with open(README, "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
    if os.environ.get("CWP_UPDATE"):
        update()
        sys.exit(0)
    unittest.main(verbosity=2)

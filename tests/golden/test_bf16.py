#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Statistics of the small models of all dense families with products in BF16, on the best instruction set of this machine and
on one that rounds and multiplies in f32: by the Frobenius norm over all tensors of a kind, within 1e-2 of the references
for activations and 2e-2 for gradients, and not as close as f32 comes. Standard library only."""
import array
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get("CWP_BUILDDIR", "build")
GOLDEN = os.path.join(os.environ.get("CWP_SHARED", ""), "golden")
LIMITS = {"grad_sum": 2e-2, "grad_abs": 2e-2, "grad_sq": 2e-2, "act_sq": 1e-2, "act_absmax": 1e-2}


def tensors(path):
    """Those of F32 by name, and those of I64."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    types = {"F32": "f", "I64": "q"}
    return {name: array.array(types[e["dtype"]], data[slice(*e["data_offsets"])]) for name, e in header.items()
            if name != "__metadata__"}


def families():
    """Dense ones: elsewhere a rounded router may choose other experts."""
    names = sorted(os.listdir(GOLDEN)) if os.path.isdir(GOLDEN) else []
    return [n for n in names if os.path.exists(os.path.join(GOLDEN, n, "golden.safetensors")) and "moe" not in n and n != "mixtral"]


def statistics(folder, ids, precision, work, environment):
    samples, out = os.path.join(work, "samples.jsonl"), os.path.join(work, "out-" + precision)
    with open(samples, "w", encoding="ascii") as f:
        for row in ids:
            weights = [0] + [1 / (len(row) - 1)] * (len(row) - 1)
            f.write(json.dumps({"ids": row, "weights": weights}) + "\n")
    if os.path.exists(out):
        os.remove(out)
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "statistics", folder, "--samples", samples, "--out", out, "--backend", "cpu",
                    "--precision", precision], check=True, stdout=subprocess.DEVNULL, env=environment)
    return tensors(out)


def distance(kind, want, got):
    """The difference of all tensors of a kind, relative to what they are."""
    names = [n for n in want if n.startswith(kind + "/")]
    off = sum((a - b) ** 2 for n in names for a, b in zip(want[n], got[n]))
    return math.sqrt(off / sum(a * a for n in names for a in want[n]))


class Bf16(unittest.TestCase):
    def check(self, environment):
        for family in families():
            folder = os.path.join(GOLDEN, family)
            want = tensors(os.path.join(folder, "golden.safetensors"))
            with self.subTest(family), tempfile.TemporaryDirectory() as work, \
                    open(os.path.join(folder, "golden.safetensors"), "rb") as f:
                header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
                length = header["input_ids"]["shape"][1]
                flat = want["input_ids"].tolist()
                ids = [flat[i:i + length] for i in range(0, len(flat), length)]
                got = statistics(folder, ids, "bf16", work, environment)
                for kind, limit in LIMITS.items():
                    self.assertLess(distance(kind, want, got), limit, kind)
                self.assertGreater(distance("grad_sq", want, got), 1e-4)

    def test_best(self):
        self.check(os.environ)

    def test_emulated(self):
        self.check(dict(os.environ, CWP_CPU="scalar"))


if __name__ == "__main__":
    if not families():
        print(f"skipped: {GOLDEN} is absent")
        sys.exit(77)
    unittest.main()

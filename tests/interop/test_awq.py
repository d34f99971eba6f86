#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""AWQ on layers of the real model, beside the published algorithm in numpy on the same statistics: the squared output error of
each Linear is not above numpy's, and protected weights lower it. Exit 77 when something needed is absent.

    test_awq.py LAYERS: of more layers than the first, without the comparison with numpy."""
import json
import os
import subprocess
import sys
import tempfile

from engines import CACHE, find_python, skip

find_python(("numpy",))

import numpy as np  # noqa: E402

import awq_reference  # noqa: E402

BUILD = os.environ.get("CWP_BUILDDIR", ".")
MODEL = os.path.join(CACHE, "smollm2-hf")
TEXT = os.path.join(os.environ.get("CWP_SHARED", ""), "data", "wikitext2", "wikitext-2-valid-tokens.txt")
GROUP, BITS, HEADS = 64, 4, (9, 3)


def measure(layers, reference):
    """[Linears, ways without and with protection, (ours, published)]"""
    job = {"model": MODEL, "output": "none", "quantize": {"plugin": "static", "options": {"algorithm": "awq", "bits": BITS,
        "granularity": "group", "group": GROUP}}, "calibrate": {"critical": [
            {"name": "text", "data": "wikitext2", "path": TEXT, "samples": 8, "length": 128}]}}
    rows = []
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        json.dump(job, f)
        f.flush()
        runner = subprocess.Popen([os.path.join(BUILD, "bench", "awq-error-run"), f.name, str(layers), "0.05"], stdout=subprocess.PIPE)
        for modules, ways in awq_reference.read(runner.stdout):
            assert len(modules) == 7 and all(len(w) == 7 for w in ways)
            theirs = []
            for way in range(2):
                plain = {n: dict(m, mask=m["mask"] & bool(way)) for n, m in modules.items()}
                theirs.append(awq_reference.layer(plain, GROUP, BITS, HEADS) if reference else dict.fromkeys(modules, float("nan")))
            for name, m in modules.items():
                ours = [awq_reference.error(m, w[name][2], w[name][0], w[name][1], m["mask"] & bool(way)) for way, w in enumerate(ways)]
                rows.append([[o, t[name]] for o, t in zip(ours, theirs)])
                print(name, " ".join("%.5g (%.5f)" % (o, o / t[name]) for o, t in zip(ours, theirs)), flush=True)
        assert runner.wait() == 0
        runner.stdout.close()
    return np.array(rows)


if not os.path.exists(os.path.join(MODEL, "model.safetensors")):
    skip("the model %s is absent (scripts/packages --model)" % MODEL)
if not os.path.exists(TEXT):
    skip("the reference data %s is absent" % TEXT)
layers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
found = measure(layers, layers == 1)
assert found.shape == (7 * layers, 2, 2)
total = found.sum(axis=0)
print("total %.6g without protection, %.6g with it; %d of %d Linears lower, the worst %.4f" % (total[0, 0], total[1, 0],
    np.sum(found[:, 1, 0] < found[:, 0, 0]), len(found), (found[:, 1, 0] / found[:, 0, 0]).max()))
if layers == 1:
    # Equal where nothing is scaled or narrowed, but for sums in f32.
    assert np.all(found[:, :, 0] <= 1.0001 * found[:, :, 1]), "a Linear is above the published algorithm"
    for first, last in ((0, 3), (3, 4), (4, 6), (6, 7), (0, 7)):
        both = found[first:last].sum(axis=0)
        assert np.all(both[:, 0] <= 1.0001 * both[:, 1]), "the sum of an input is above the published algorithm"
assert total[1, 0] < total[0, 0]
assert np.mean(found[:, 1, 0] < found[:, 0, 0]) >= 0.99
assert np.all(found[:, 1, 0] <= 1.01 * found[:, 0, 0])

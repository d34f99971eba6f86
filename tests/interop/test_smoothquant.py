#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""SmoothQuant on layers of the real model: the squared error of each Linear's output with int8 weights and int8 inputs by token,
beside the same without smoothing and beside the published algorithm in numpy on the same inputs. Exit 77 when something needed
is absent.

    test_smoothquant.py [LAYERS [ALPHA]]"""
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
HEADS = (9, 3)


def inputs_of(x):
    """int8 by token, as the engine rounds."""
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(127.5)
    scale[scale == 0] = 1
    return np.clip(np.rint(x / scale), -128, 127) * scale


def weights_of(w):
    """int8 by channel, scales as BF16 has them."""
    scale = awq_reference.bf16(np.abs(w).max(axis=1) / np.float32(127))
    scale[scale == 0] = 1
    return np.clip(np.rint(w / scale[:, None]), -128, 127) * scale[:, None]


def error(m, x, value, row=1.0):
    """Of outputs: x and value are what is multiplied, the rows of value have been divided by row."""
    got = x.astype(np.float64) @ value.astype(np.float64).T * row
    return float(np.sum((got - m["x"].astype(np.float64) @ m["weight"].astype(np.float64).T) ** 2))


def published(modules, alpha):
    """name -> s of the columns: max |x|^alpha / max |w|^(1 - alpha) of all Linears that read the input."""
    scales = {}
    for m in modules.values():
        readers = [r for r in modules.values() if r["input"] == m["input"]]
        n = m["weight"].shape[1]
        at = np.arange(n)
        if m["module"].endswith("o_proj"):  # query heads that share values share scales
            at = at // (n // HEADS[0]) * HEADS[1] // HEADS[0] * (n // HEADS[0]) + at % (n // HEADS[0])
        most_x, most_w = np.zeros(at.max() + 1, np.float32), np.zeros(at.max() + 1, np.float32)
        np.maximum.at(most_x, at, np.abs(m["x"]).max(axis=0))
        for r in readers:
            np.maximum.at(most_w, at, np.abs(r["weight"]).max(axis=0))
        s = np.maximum(most_x.astype(np.float64) ** alpha / most_w.astype(np.float64) ** (1 - alpha), 1e-5)
        scales[m["module"]] = s.astype(np.float32)[at]
    return scales


def measure(layers, alpha):
    """[Linears, (without, ours, published)], the largest difference of scales."""
    job = {"model": MODEL, "output": "none", "quantize": {"plugin": "static", "options": {"algorithm": "smoothquant", "bits": 8,
        "activations": "dynamic", "alpha": alpha}}, "calibrate": {"critical": [
            {"name": "text", "data": "wikitext2", "path": TEXT, "samples": 8, "length": 128}]}}
    rows, worst = [], 0.0
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        json.dump(job, f)
        f.flush()
        runner = subprocess.Popen([os.path.join(BUILD, "bench", "awq-error-run"), f.name, str(layers), "0.05", "inputs"],
            stdout=subprocess.PIPE)
        for modules, (way, _) in awq_reference.read(runner.stdout):
            for m in modules.values():
                m["x"] = np.concatenate(m["x"])
            theirs = published(modules, alpha)
            for name, m in modules.items():
                column, row, value = way[name]
                s = theirs[name]
                # A norm's weight is rounded to BF16, and the scale is what it then was divided by.
                worst = max(worst, float(np.abs(column / s - 1).max()))
                rows.append([error(m, inputs_of(m["x"]), weights_of(m["weight"])), error(m, inputs_of(m["x"] / column), value, row),
                    error(m, inputs_of(m["x"] / s), weights_of(m["weight"] * s))])
                print(name, "without %.5g, with %.3f of it, published %.3f" % (rows[-1][0], rows[-1][1] / rows[-1][0],
                    rows[-1][2] / rows[-1][0]), flush=True)
        assert runner.wait() == 0
        runner.stdout.close()
    return np.array(rows), worst


if not os.path.exists(os.path.join(MODEL, "model.safetensors")):
    skip("the model %s is absent (scripts/packages --model)" % MODEL)
if not os.path.exists(TEXT):
    skip("the reference data %s is absent" % TEXT)
layers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
found, worst = measure(layers, float(sys.argv[2]) if len(sys.argv) > 2 else 0.5)
assert found.shape == (7 * layers, 3)
total = found.sum(axis=0)
share = found[:, 1] / found[:, 0]
print("total without %.5g, with %.5g (%.3f), published %.5g; lower in %d of %d Linears, geometric mean %.3f; scales differ by %.2g" % (
    total[0], total[1], total[1] / total[0], total[2], np.sum(share < 1), len(found), np.exp(np.log(share).mean()), worst))
assert worst <= 2.0 ** -8 + 1e-5, "scales are not the published ones"
# Rounding the norm's weight moves what is rounded to int8, one way or the other.
assert np.all(found[:, 1] <= 1.06 * found[:, 2]), "a Linear is above the published algorithm"
assert total[1] <= 1.01 * total[2], "the sum is above the published algorithm"
assert total[1] <= 0.6 * total[0], "smoothing does not lower the error"

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""GPTQ on a layer of the real model, beside the published algorithm in numpy on the same x x^T and the same scales: the squared
output error of each Linear is not above numpy's, and protected weights lower it. bench/gptq-error does the same with all layers.
Exit 77 when something needed is absent."""
import json
import os
import subprocess
import tempfile
import unittest

from engines import CACHE, find_python, skip

find_python(("numpy",))

import numpy as np  # noqa: E402

import gptq_reference  # noqa: E402

BUILD = os.environ.get("CWP_BUILDDIR", ".")
MODEL = os.path.join(CACHE, "smollm2-hf")
TEXT = os.path.join(os.environ.get("CWP_SHARED", ""), "data", "wikitext2", "wikitext-2-valid-tokens.txt")
BASE = "bits=4,granularity=group,group=32"
GPTQ = BASE + ",algorithm=gptq"
WAYS = [BASE, GPTQ, "+" + GPTQ, "+" + GPTQ + ",protected=original", GPTQ + ",act-order=false", "+" + GPTQ + ",act-order=false",
    "bits=3,algorithm=gptq,symmetric=false,damping=0.05", "bits=2,algorithm=gptq,granularity=group,group=64,act-order=false,symmetric=false"]
WITHOUT = {2: 1, 3: 1, 5: 4}  # ways with protection, and the same without


class Gptq(unittest.TestCase):
    def test_layer(self):
        job = {"model": MODEL, "output": "none", "quantize": {"plugin": "static"}, "calibrate": {"critical": [
            {"name": "text", "data": "wikitext2", "path": TEXT, "samples": 8, "length": 256}]}}
        ours, theirs, notes = [], [], []
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            json.dump(job, f)
            f.flush()
            runner = subprocess.Popen([os.path.join(BUILD, "bench", "gptq-error-run"), f.name, "0", "1", "0.05"] + WAYS,
                stdout=subprocess.PIPE)
            for m in gptq_reference.read(runner.stdout, len(WAYS)):
                rows = gptq_reference.compare(m, WAYS)
                print(m["module"], " ".join("%.4g (%.5f)" % (e, e / r) for e, r in rows))
                ours.append([e for e, _ in rows])
                theirs.append([r for _, r in rows])
                notes += [w["note"] for w in m["ways"] if w["note"]]
            self.assertEqual(runner.wait(), 0)
            runner.stdout.close()
        ours, theirs = np.array(ours), np.array(theirs)
        self.assertEqual(ours.shape, (7, len(WAYS)))
        self.assertEqual(notes, [])
        self.assertLess((ours[:, 1:] / theirs[:, 1:]).max(), 1.005)
        self.assertTrue(np.all(ours[:, 1:].sum(axis=0) <= 1.001 * theirs[:, 1:].sum(axis=0)))
        # Well below rounding to nearest, and below itself without protection, in each Linear.
        self.assertTrue(np.all(ours[:, 1:6] < 0.6 * ours[:, :1]))
        for way, without in WITHOUT.items():
            self.assertTrue(np.all(ours[:, way] < ours[:, without]), WAYS[way])


if not os.path.exists(os.path.join(MODEL, "model.safetensors")):
    skip("the model %s is absent (scripts/packages --model)" % MODEL)
if not os.path.exists(TEXT):
    skip("the reference data %s is absent" % TEXT)
unittest.main(verbosity=2)

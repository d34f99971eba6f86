#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs that only quantize, strip by strip: the same bytes with any number of threads, the values of the job that keeps whole
matrices, and memory that does not grow with the model."""
import json
import os
import subprocess
import sys

import worker_test
from worker_test import WORKER

SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
KINDS = {"int8": {"plugin": "int8"}, "fp8": {"plugin": "fp8"},
    "int4": {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32, "symmetric": False}}}


class Strips(worker_test.WorkerTest):
    def plan(self, job, threads):
        return json.loads(self.worker("plan", job, "--threads", str(threads)).stdout)["bounds"]["memory"]

    def same_values(self, model, quantize, output):
        """The output's codes as values, from the job that writes such values and works on whole matrices."""
        dense = output + "-dense"
        job, values = self.job(model, quantize=quantize, write={"format": "dense"})
        self.inspect("dense", output, "--out", dense)
        self.run_job(job)
        one, two = (worker_test.read_safetensors(os.path.join(f, "model.safetensors")) for f in (dense, values))
        self.assertEqual([n for n in one if one[n] != two[n]], [])
        self.assertEqual(set(one), set(two))

    def test_same_bytes(self):
        # 224 rows are three strips of 64 and one of 32.
        model = worker_test.make_model(self.path("model"), layers=2, wide=224)
        for name, quantize in KINDS.items():
            digests = set()
            for threads in (1, 3):
                job, output = self.job(model, quantize=quantize)
                self.run_job(job, "--threads", str(threads))
                self.inspect("verify", output)
                digests.add(self.digest(output))
            self.assertEqual(len(digests), 1, name)
            self.assert_tidy(output)
            self.same_values(model, quantize, output)

    def test_formats(self):
        """bitsandbytes, and FP8 in blocks of 128 rows and columns."""
        model = worker_test.make_model(self.path("model"), layers=1, hidden=512, wide=384)
        for quantize, write in (("int8", "bitsandbytes"), ("fp8", "fp8")):
            quantize = {"plugin": quantize, "options": {"granularity": "block"} if write == "fp8" else {}}
            digests = set()
            for threads in (1, 3):
                job, output = self.job(model, quantize=quantize, write={"format": write})
                self.run_job(job, "--threads", str(threads))
                self.inspect("verify", output)
                digests.add(self.digest(output))
            self.assertEqual(len(digests), 1, write)
            if write == "fp8":  # bitsandbytes has scales of its own
                self.same_values(model, quantize, output)

    def test_memory(self):
        """Measured below what is stated; stated for 70 billion weights as for a few, with any number of threads."""
        large = self.path("large")
        subprocess.run([sys.executable, os.path.join(SRC, "bench", "make_model.py"), large, "--layers", "2", "--weights", "sparse"],
            check=True, stdout=subprocess.DEVNULL)
        small = worker_test.make_model(self.path("small"))
        for quantize in KINDS.values():
            job = self.job(large, quantize=quantize)[0]
            for threads in (1, 2, 16, 200):
                self.assertLessEqual(self.plan(job, threads), 256 << 20)
            job = self.job(small, quantize=quantize)[0]
            stated = self.plan(job, 2)
            watch = worker_test.Watch([WORKER, "run", job, "--threads", "2"], self.folder)
            self.assertEqual(watch.process.returncode, 0, watch.stderr)
            self.assertTrue(worker_test.sanitized() or watch.memory <= stated, (watch.memory, stated))
        # What runs through the model needs more than strips.
        self.assertGreater(self.plan(self.job(small, **self.protecting())[0], 2), stated)


if __name__ == "__main__":
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""GPTQ on the GPU that calibrates: the same as on the host, where there is room; and what is done without. The GPU is the
checking backend of the tests."""
import array
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import FAKE, WORKER, read_folder

FOUR = {"bits": 4, "granularity": "group", "group": 32}
LAYERS, INPUTS, MODULES = 2, 4, 7  # of a model, of a layer: distinct inputs, matrices
# Of codes and scales, what may differ where sums of f64 are added in another order.
SHARE = 1e-3


class Gptq(worker_test.OwnPluginsTest):
    gpu_plugin = FAKE

    def model(self, change=None):
        return worker_test.make_model(self.path("model"), layers=LAYERS, hidden=128, wide=256, change=change)

    def calibrated(self, options, **more):
        """Keys of a job without protection."""
        return dict({"backend": "cuda", "precision": "f32", "quantize": {"plugin": "static", "options": dict(options, algorithm="gptq")},
            "calibrate": {"utility": [{"name": "text", "data": "samples", "path": self.samples("text.jsonl", seed=4)}]}}, **more)

    def run_on(self, job, status=0, **variables):
        """Runs a job on the GPU; returns what it said, and how often GPTQ's operations were called, and all of them."""
        tell = self.path("tell")
        if os.path.exists(tell):
            os.remove(tell)
        said = self.run_job(job, "--plugin-dir", self.plugins, status=status, env=dict(os.environ, CWP_FAKE_TELL=tell, **variables))
        self.assertNotIn("checking backend: ", said)
        with open(tell, encoding="utf-8") as f:
            words = f.read().split()
        return said, [int(words[1]), int(words[3])], int(words[5])

    def assert_same(self, first, second):
        """Outputs with the same tensors, but for a share of their bytes; scales beside codes of 4 bits are numbers too."""
        a, b = read_folder(first), read_folder(second)
        self.assertEqual(sorted(a), sorted(b))
        for name in a:
            self.assertEqual(a[name][:2], b[name][:2], name)
            x, y = a[name][2], b[name][2]
            differ = sum(p != q for p, q in zip(x, y)) if x != y else 0
            self.assertLessEqual(differ, SHARE * len(x), name)

    def test_forms(self):
        """With and without order, zero points, groups and compensation, weights protected: as the host does it, from the same
        statistics; each x x^T is factorized once."""
        model = self.model()
        forms = (dict(FOUR), dict(FOUR, protected="original"), {"bits": 4, "act-order": False, "symmetric": False, "group": 16,
            "granularity": "group"}, {"bits": 8, "act-order": False, "granularity": "channel", "activations": "static"})
        keys = dict(self.protecting(), seed=3)
        for options in forms:
            outs = []
            for variables, calls in (({}, [LAYERS * INPUTS, LAYERS * MODULES]), ({"CWP_FAKE_PLAIN": "1"}, [0, 0])):
                job, out = self.job(model, **dict(keys, **self.calibrated(options, calibrate=keys["calibrate"])))
                said, called, _ = self.run_on(job, **variables)
                self.assertEqual(called, calls, (options, said))
                self.assertNotIn("on the host", said)
                outs.append(out)
            self.assert_same(*outs)
            values = [worker_test.protected_positions(out) for out in outs]
            self.assertEqual([[p[:2] for p in m] for m in values[0].values()], [[p[:2] for p in m] for m in values[1].values()])
            self.assertTrue(values[0])
            differ = sum(p != q for m in values[0] for p, q in zip(values[0][m], values[1][m]))
            self.assertLessEqual(differ, SHARE * sum(map(len, values[0].values())))

    def test_against_cpu(self):
        """The CPU backend comes to the same statistics in another order."""
        model = self.model()
        outs = []
        for backend in ("cuda", "cpu"):
            job, out = self.job(model, **self.calibrated(FOUR, backend=backend))
            self.run_job(job, "--plugin-dir", self.plugins)
            outs.append(read_folder(out))
        self.assertEqual(sorted(outs[0]), sorted(outs[1]))
        for name, tensor in outs[0].items():
            differ = sum(p != q for p, q in zip(tensor[2], outs[1][name][2]))
            self.assertLessEqual(differ, 0.01 * len(tensor[2]), name)

    def test_on_host(self):
        """Ranges that are searched for, and quantizers that scale channels, stay on the host; the plan has no word on it."""
        model = self.model()
        for options in (dict(FOUR, scale="mse"), dict(FOUR, scale="percentile")):
            job, _ = self.job(model, **self.calibrated(options))
            said, called, _ = self.run_on(job)
            self.assertEqual(called, [0, 0])
            self.assertNotIn("on the host", said)
        keys = self.calibrated(FOUR)
        keys["quantize"]["options"]["algorithm"] = "awq"
        job, _ = self.job(model, **keys)
        self.assertEqual(self.run_on(job)[1], [0, 0])

    def plan(self, job, **variables):
        done = self.worker("plan", job, "--plugin-dir", self.plugins, env=dict(os.environ, **variables))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_small_gpu(self):
        """Where the GPU has no room for it, the plan says so, and the host does it."""
        model = self.model()
        job, _ = self.job(model, **self.calibrated(FOUR))
        there, here = self.plan(job), self.plan(job, CWP_FAKE_PLAIN="1")
        need = here["bounds"]["gpu_memory"]
        self.assertGreater(there["bounds"]["gpu_memory"], need)
        self.assertEqual([there["warnings"], here["warnings"]], [[], []])
        limits = {"gpu-memory": "%dKiB" % ((need >> 10) + 1)}
        job, small = self.job(model, **self.calibrated(FOUR, limits=limits))
        plan = self.plan(job)
        self.assertEqual(len(plan["warnings"]), 1, plan["warnings"])
        for word in ("quantize: modules are quantized on the host", "the GPU has no room for the"):
            self.assertIn(word, plan["warnings"][0])
        self.assertLessEqual(plan["bounds"]["gpu_memory"], need + 1024)
        said, called, _ = self.run_on(job)
        self.assertEqual(called, [0, 0])
        self.assertIn("modules are quantized on the host", said)
        job, whole = self.job(model, **self.calibrated(FOUR))
        self.assertEqual(self.run_on(job)[1], [LAYERS * INPUTS, LAYERS * MODULES])
        self.assert_same(small, whole)

    def test_lost(self):
        """A device that is lost while it quantizes: another attempt goes on behind the last whole layer, to the same output."""
        model = self.model()
        whole, there = self.job(model, **self.calibrated(FOUR))
        _, calls, operations = self.run_on(whole)
        job, out = self.job(model, **self.calibrated(FOUR))
        said, lost, _ = self.run_on(job, status=75, CWP_FAKE_LOST=str(operations - 30))
        self.assertIn("the device is lost", said)
        self.assertTrue(calls[1] // 2 < lost[1] < calls[1], lost)
        self.assertFalse(os.path.exists(os.path.join(out, "manifest.json")))
        _, again, _ = self.run_on(job)
        self.assertEqual(again, [INPUTS, MODULES])
        self.assertEqual(self.digest(out), self.digest(there))
        self.assert_tidy(out)

    def test_numbers(self):
        """Inputs that overflow are named with their channel; modules without a usable factor are rounded to nearest, or have more
        damping, and the report says so."""
        def odd(module, row, column, value):
            def change(tensors, config):
                dtype, shape, data = tensors[module]
                values = array.array("f", data)
                values[row * shape[1] + column] = value
                tensors[module] = (dtype, shape, values.tobytes())
            return change
        model = self.model(odd("model.layers.0.mlp.up_proj.weight", 9, 3, 1e30))
        job, out = self.job(model, **self.calibrated(FOUR))
        self.assertIn("x x^T of input channel 9 is not finite", self.run_on(job, status=65)[0])
        shutil.rmtree(model)

        def dead(tensors, config):
            shape = tensors["model.layers.0.mlp.up_proj.weight"][1]
            tensors["model.layers.0.mlp.up_proj.weight"] = ("F32", shape, bytes(4 * shape[0] * shape[1]))
        model = self.model(dead)
        few = self.write("few.jsonl", '{"ids": [5, 6, 7], "weights": [0, 1, 1], "group": 0}\n')
        notes, outs = [], []
        for variables in ({}, {"CWP_FAKE_PLAIN": "1"}):
            job, out = self.job(model, **self.calibrated(dict(FOUR, damping=0), calibrate={"critical": [
                {"name": "s", "data": "samples", "path": few}]}))
            self.run_on(job, **variables)
            notes.append({n["module"]: n["note"] for n in self.load(out, "report.json")["protection"]["quantized_otherwise"]})
            outs.append(out)
        self.assertEqual(notes[0], notes[1])
        self.assertEqual(notes[0]["model.layers.0.mlp.down_proj"], "rounded to nearest, since all its inputs are 0")
        self.assertIn("no Cholesky factor with less", notes[0]["model.layers.1.mlp.down_proj"])
        self.assert_same(*outs)


if __name__ == "__main__":
    if not os.path.exists(WORKER) or not os.path.exists(FAKE):
        worker_test.skip("cwp-worker or the checking backend is not built")
    worker_test.main()

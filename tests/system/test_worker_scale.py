#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs at scale: the control scorer, for which no sample is run, and jobs whose boundaries do not fit into memory."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import WorkerTest, floats, golden, protected_positions, read_folder

MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj")
STEP, ALL = 0x9e3779b97f4a7c15, (1 << 64) - 1


def mix(x):
    x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & ALL
    x = ((x ^ x >> 27) * 0x94d049bb133111eb) & ALL
    return x ^ x >> 31


def random_scores(seed, module, count):
    """The control scorer's numbers, by doc/method.md."""
    h = mix((seed + STEP) & ALL)
    for byte in module.encode():
        h = mix((h + STEP + byte) & ALL)
    return [((mix((h + i * STEP) & ALL) >> 41) + 0.5) / 2 ** 23 for i in range(1, count + 1)]


class Control(WorkerTest):
    def scored(self, values, fraction):
        """The places of the largest values of all modules, ties at the threshold included."""
        every = sorted((v for module in values.values() for v in module[0]), reverse=True)
        limit = every[int(fraction * len(every)) - 1]
        return {(m, i // cols, i % cols) for m, (v, cols) in values.items() for i in range(len(v)) if v[i] >= limit}

    def protected(self, output):
        return {(m, r, c) for m, p in protected_positions(output).items() for r, c, _ in p}

    def test_choice(self):
        weights = {n[:-len(".weight")]: (floats(t), t[1][1]) for n, t in read_folder(golden("smollm2")).items()
            if any(n.endswith(m + ".weight") for m in MODULES)}
        wanted = {
            "magnitude": {m: ([abs(x) for x in w], cols) for m, (w, cols) in weights.items()},
            "random": {m: (random_scores(5, m, len(w)), cols) for m, (w, cols) in weights.items()}}
        for form, values in wanted.items():
            with self.subTest(form=form):
                parts = self.protecting("control", combine="mean", options={"form": form, "seed": 5})
                job, output = self.job("smollm2", **parts)
                self.run_job(job)
                self.assertEqual(self.protected(output), self.scored(values, 0.05))
                report = self.load(output, "report.json")
                self.assertIsNone(report["protection"]["sets"][0]["loss"], "a sample was run")

    def test_same_for_any_threads_and_sets(self):
        digests, masks = set(), []
        for threads, score in ((1, {"utility": "add"}), (3, {"utility": "add"}), (2, {"utility": "ignore"})):
            job, output = self.job("smollm2", limits={"threads": threads}, **self.protecting("control", **score))
            done = self.worker("run", job)
            self.assertEqual(done.returncode, 0, done.stderr)
            if score["utility"] == "add":
                digests.add(self.digest(output))
            masks.append(self.protected(output))
        self.assertEqual(len(digests), 1)
        self.assertEqual(masks[0], masks[2])
        job, output = self.job("smollm2", **self.protecting("control", options={"seed": 1}))
        self.run_job(job)
        self.assertNotEqual(self.protected(output), masks[0], "the seed changes nothing")

    def test_refusals(self):
        for score in ({"utility": "subtract"}, {"combine": "reference"}):
            job, output = self.job("smollm2", **self.protecting("control", **score))
            done = self.worker("run", job)
            self.assertEqual(done.returncode, 65, done.stderr)
            for word in ("score.utility", "subtract", "control", "use add or ignore"):
                self.assertIn(word, done.stderr)
            self.assert_nothing(output)


if __name__ == "__main__":
    worker_test.main()

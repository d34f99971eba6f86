#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs at scale: the control scorer, for which no sample is run, and jobs whose boundaries do not fit into memory."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import Watch, WorkerTest, floats, golden, protected_positions, read_folder

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


class Memory(WorkerTest):
    """Boundaries beyond what stays in memory, on scratch: the stated bounds hold, and the bytes are the same."""

    def limited(self, model, threads, **limits):
        sets = [self.samples("set%d.jsonl" % i, count, length, seed=i) for i, (count, length) in
            enumerate(((64, 250), (120, 40), (96, 120), (64, 250)))]
        entries = [{"name": "set%d" % i, "data": "samples", "path": s} for i, s in enumerate(sets)]
        job, output = self.job(model, calibrate={"critical": entries[:2], "utility": entries[2:]},
            score={"plugin": "fisher"}, protect={"fraction": 0.05}, limits=limits)
        scratch = self.path("scratch%d" % self.jobs)
        os.mkdir(scratch)
        watch = Watch([worker_test.WORKER, "run", job, "--threads", str(threads), "--scratch", scratch], scratch)
        self.assertEqual(watch.process.returncode, 0, watch.stderr)
        return output, watch

    def test_bounds(self):
        """More than fits: 8 boundaries of 48,320 tokens are 189 MiB, and 128 MiB may stay in memory."""
        model = worker_test.make_model(self.path("model"), layers=6, hidden=128, wide=256)
        output, watch = self.limited(model, 2, memory="600MiB")
        report = self.load(output, "report.json")
        bounds = report["bounds"]
        peak = max([watch.memory] + [s["peak_memory_bytes"] for s in report["stages"]])
        if not worker_test.sanitized():
            self.assertLessEqual(peak, bounds["memory"])
        self.assertLessEqual(bounds["memory"], 600 << 20)
        self.assertLessEqual(watch.scratch, bounds["scratch"])
        self.assertGreater(watch.scratch, 189 << 20, "the boundaries were not on scratch")
        # More threads than the limit allows are not used, and change nothing.
        again, _ = self.limited(model, 24, memory="600MiB")
        self.assertEqual(self.digest(again), self.digest(output))
        self.assertLessEqual(self.load(again, "report.json")["bounds"]["memory"], 600 << 20)

    def test_threads_give_way(self):
        """A job that needs too much with all threads runs with fewer; one that needs too much with one is refused."""
        parts = self.protecting()
        bounds = {}
        for threads in (1, 8):
            job, output = self.job("smollm2", limits={"threads": threads}, **parts)
            plan = self.worker("plan", job, "--memory", "1B")  # the need alone
            bounds[threads] = json.loads(plan.stdout)["bounds"]["memory"]
        self.assertGreater(bounds[8], bounds[1])
        middle = (bounds[1] + bounds[8]) // 2
        job, output = self.job("smollm2", limits={"memory": "%dKiB" % (middle // 1024)}, **parts)
        self.run_job(job, "--threads", "8")
        stated = self.load(output, "report.json")["bounds"]["memory"]
        self.assertLessEqual(stated, middle)
        self.assertGreater(stated, bounds[1])
        job, output = self.job("smollm2", limits={"memory": "%dKiB" % (bounds[1] // 1024 - 1)}, **parts)
        done = self.worker("run", job, "--threads", "8")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("limits.memory", done.stderr)
        self.assert_nothing(output)


if __name__ == "__main__":
    worker_test.main()

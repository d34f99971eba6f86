#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""How scores become a choice: ranks against their definition, from statistics that the engine prints."""
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import floats, golden, protected_positions, read_folder, read_safetensors

MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj"]


def ordinal(value):
    """A positive float's place among all floats."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def ranks(values):
    """By doc/method.md alone: weights in lower bins, and the share of the own bin that the lower 12 bits say."""
    count, below, lower = {}, {}, 0
    keys = [ordinal(v) for v in values]
    for key in keys:
        count[key >> 12] = count.get(key >> 12, 0) + 1
    for b in sorted(count):
        below[b] = lower
        lower += count[b]
    return [(below[k >> 12] + count[k >> 12] * ((k & 4095) + 0.5) / 4096) / len(values) for k in keys]


class Scores(worker_test.WorkerTest):
    def importances(self, samples, name):
        """Fisher's importances of all scored weights, module by module."""
        out = self.path(name + ".safetensors")
        self.inspect("statistics", golden("smollm2"), "--samples", samples, "--out", out)
        found = read_safetensors(out)
        return {n[:-len(".weight")]: list(floats(found["grad_sq/" + n])) for n in read_folder(golden("smollm2"))
            if any(n.endswith(m + ".weight") for m in MODULES)}

    def places(self, output):
        return {(m, r, c) for m, p in protected_positions(output).items() for r, c, _ in p}

    def test_rank(self):
        parts = self.protecting(combine="rank", utility="subtract", beta=0.25, options={"error-aware": False})
        sets = [self.importances(self.path(name), name) for name in ("critical.jsonl", "utility.jsonl")]
        flat = [[v for m in sorted(s) for v in s[m]] for s in sets]
        # A set's rank knows no scale, so sums do as well as means over samples.
        a, b = ranks(flat[0]), ranks(flat[1])
        score = [x - 0.25 * y for x, y in zip(a, b)]
        limit = sorted(score, reverse=True)[int(0.05 * len(score)) - 1]
        job, output = self.job("smollm2", **parts)
        self.run_job(job)
        mine, at = self.places(output), 0
        cols = {n[:-len(".weight")]: t[1][1] for n, t in read_folder(golden("smollm2")).items() if len(t[1]) == 2}
        for module in sorted(sets[0]):
            for i in range(len(sets[0][module])):
                # Sums in another order move a rank by a neighbour or two.
                if abs(score[at] - limit) > 1e-4:
                    place = (module, i // cols[module], i % cols[module])
                    self.assertEqual(place in mine, score[at] > limit, place)
                at += 1
        protection = self.load(output, "report.json")["protection"]
        self.assertAlmostEqual(protection["threshold"], limit, delta=1e-4)
        shares = {s["name"]: s["share"] for s in protection["sets"]}
        total = sum(a) + 0.25 * sum(b)
        self.assertAlmostEqual(shares["safety"], sum(a) / total, delta=1e-3)
        self.assertAlmostEqual(shares["text"], 0.25 * sum(b) / total, delta=1e-3)
        # Of one set alone the order is that of its importances.
        alone = {}
        for combine in ("rank", "mean"):
            parts["score"] = {"plugin": "fisher", "combine": combine, "utility": "ignore", "options": {"error-aware": False}}
            job, output = self.job("smollm2", **parts)
            self.run_job(job)
            alone[combine] = self.places(output)
        self.assertEqual(alone["rank"], alone["mean"])


if __name__ == "__main__":
    worker_test.main()

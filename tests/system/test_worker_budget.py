#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Budgets as bits a weight and as bytes of the output: kept in every case, and used up to the last weight that fits."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import golden, make_model, protected_positions


class Budget(worker_test.WorkerTest):
    def budgeted(self, model, budget, **parts):
        """Runs a job with this protect; returns its output and report."""
        keys = self.protecting()
        keys["protect"] = budget
        keys.update(parts)
        job, output = self.job(model, **keys)
        self.run_job(job)
        self.inspect("verify", output)
        report = self.load(output, "report.json")
        count = sum(len(p) for p in protected_positions(output).values())
        self.assertEqual(report["protection"]["protected"], count)
        return output, report

    def bytes_of(self, output):
        return sum(os.path.getsize(os.path.join(output, name)) for name in os.listdir(output))

    def one_more(self, model, protected, weights):
        """The output that protects one weight more."""
        output, report = self.budgeted(model, {"fraction": (protected + 1.5) / weights})
        self.assertEqual(report["protection"]["protected"], protected + 1)
        return output

    def test_bits(self):
        for model in ("smollm2", "mixtral"):
            plain, report = self.budgeted(model, {"fraction": 0})
            least = self.load(plain, "manifest.json")["counts"]["bits_per_weight"]
            last = 0
            for bits in (least + 0.4, least + 2, 40.0):
                with self.subTest(model=model, bits=bits):
                    output, report = self.budgeted(model, {"bits": bits})
                    found = self.load(output, "manifest.json")["counts"]["bits_per_weight"]
                    protected, weights = report["protection"]["protected"], report["protection"]["weights"]
                    self.assertLessEqual(found, bits)
                    self.assertGreater(protected, last)
                    last = protected
                    if protected < weights:
                        more = self.load(self.one_more(model, protected, weights), "manifest.json")
                        self.assertGreater(more["counts"]["bits_per_weight"], bits)
                    else:
                        self.assertEqual(bits, 40.0)

    def test_units(self):
        """Whole columns, as many as fit."""
        output, report = self.budgeted("smollm2", {"bits": 6.5, "unit": "column"})
        self.assertLessEqual(self.load(output, "manifest.json")["counts"]["bits_per_weight"], 6.5)
        protection = report["protection"]
        places = protected_positions(output)
        self.assertGreater(protection["protected"], 0)
        for module, list_ in places.items():
            rows = {}
            for row, col, _ in list_:
                rows.setdefault(col, set()).add(row)
            self.assertEqual(len({len(r) for r in rows.values()}), 1, module)

    def test_scopes(self):
        """One fraction of every layer, or of every row: the largest whose output fits, to a billionth."""
        for scope, bits in (("layer", 5.6), ("row", 6.2)):
            with self.subTest(scope=scope):
                output, report = self.budgeted("smollm2", {"bits": bits, "scope": scope})
                fraction = report["protection"]["fraction"]
                self.assertGreater(fraction, 0.001)
                self.assertLess(fraction, 0.99)
                self.assertLessEqual(self.load(output, "manifest.json")["counts"]["bits_per_weight"], bits)
                same, _ = self.budgeted("smollm2", {"fraction": fraction, "scope": scope})
                self.assertEqual(protected_positions(same), protected_positions(output))
                more, _ = self.budgeted("smollm2", {"fraction": fraction + 1e-9, "scope": scope})
                self.assertGreater(self.load(more, "manifest.json")["counts"]["bits_per_weight"], bits)
        # All of it, and nothing but what the guard adds.
        output, report = self.budgeted("smollm2", {"bits": 40, "scope": "row"})
        self.assertEqual(report["protection"]["fraction"], 1)
        self.assertEqual(report["protection"]["protected"], report["protection"]["weights"])
        plain, _ = self.budgeted("smollm2", {"fraction": 0})
        for scope in ("layer", "row"):
            budget = self.bytes_of(plain) + 60000
            output, report = self.budgeted("smollm2", {"bytes": budget, "scope": scope})
            self.assertLessEqual(self.bytes_of(output), budget)
            self.assertGreater(report["protection"]["protected"], 0)

    def test_bytes(self):
        model = make_model(self.path("model"), layers=2, hidden=128, wide=320)
        plain, _ = self.budgeted(model, {"fraction": 0})
        more, _ = self.budgeted(model, {"fraction": 0.1})
        for shard, extra in (("5GB", 40000), ("5GB", 90000), ("1MB", 200000)):
            with self.subTest(shard=shard, extra=extra):
                budget = self.bytes_of(plain) + extra
                output, report = self.budgeted(model, {"bytes": budget}, write={"shard": shard})
                found = self.bytes_of(output)
                self.assertLessEqual(found, budget)
                # What is left is the room kept for reports, less than 20 kB in so small a job.
                self.assertGreater(found, budget - 20000)
                self.assertGreater(report["protection"]["protected"], 0)
        # The budget is the job's, in whatever unit it was written.
        output, _ = self.budgeted(model, {"bytes": "%dKB" % (self.bytes_of(more) // 1000)})
        self.assertLessEqual(self.bytes_of(output), self.bytes_of(more))

    def test_too_small(self):
        model = golden("smollm2")
        plain, _ = self.budgeted(model, {"fraction": 0})
        least = self.load(plain, "manifest.json")["counts"]["bits_per_weight"]
        keys = self.protecting()
        for budget, words in (({"bits": 3}, ("protect.bits: 3 bits a weight are too few", "write at least")),
                              ({"bits": least - 0.001}, ("protect.bits", "without any protection")),
                              ({"bytes": "10KB"}, ("protect.bytes: 10000 bytes are too few", "without any protection"))):
            keys["protect"] = budget
            job, output = self.job(model, **keys)
            for arguments in (("run", job), ("plan", job)):
                done = self.worker(*arguments)
                self.assertEqual(done.returncode, 65, done.stderr)
                for word in words:
                    self.assertIn(word, done.stderr)
            self.assert_nothing(output)
        # What the error names is enough.
        keys["protect"] = {"bits": float(done_number(self, keys, model, {"bits": 3}))}
        job, output = self.job(model, **keys)
        self.run_job(job)
        keys["protect"] = {"bytes": int(done_number(self, keys, model, {"bytes": 1000}))}
        job, output = self.job(model, **keys)
        self.run_job(job)
        self.assertLessEqual(self.bytes_of(output), keys["protect"]["bytes"])

    def test_plan_does_not_know(self):
        keys = self.protecting()
        keys["protect"] = {"bits": 5.5}
        job, _ = self.job("smollm2", **keys)
        self.assertIsNone(self.inspect("plan", job)[0]["sizes"]["protected"])

    def test_threads_change_nothing(self):
        keys = self.protecting()
        keys["protect"] = {"bits": 5.3}
        digests = set()
        for threads in ("1", "3"):
            job, output = self.job("mixtral", **keys)
            done = self.worker("run", job, "--threads", threads)
            self.assertEqual(done.returncode, 0, done.stderr)
            digests.add(self.digest(output))
        self.assertEqual(len(digests), 1)


def done_number(test, keys, model, budget):
    """The number that the refusal of a budget names."""
    keys["protect"] = budget
    job, _ = test.job(model, **keys)
    done = test.worker("run", job)
    test.assertEqual(done.returncode, 65)
    return done.stderr.split("the output takes ")[1].split(";")[0]


if __name__ == "__main__":
    worker_test.main()

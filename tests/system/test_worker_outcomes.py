#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""cwp-worker gate and compare on outputs made by hand: conditions judged anew, outputs side by side, and what is refused."""
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
WORKER = os.path.join(BUILD, "cwp-worker")
MODELS = ("original", "quantized", "protected")


def outcome_lines(n, lost, data="d" * 64, group=lambda i: "x" if i < 10 else "y", protecting=True, seed=0):
    """An evaluation "bias" of n items that the original gets right; lost(i, model): items that another one loses."""
    lines = [{"version": 1, "seed": seed, "protecting": protecting}]
    right = [[0 if lost(i, m) else 1 for m in MODELS] for i in range(n)]
    means = [sum(r[k] for r in right) / n for k in range(3)]
    metric = {"name": "bias", "benchmark": "mock", "data": data, "metric": "acc", "group": None, "form": "mean", "direction": 1, "ideal": None,
              "items": n}
    nothing = {"low": None, "high": None, "standard_error": None}
    lines.append(dict(metric, **{m: dict(nothing, n=n, value=means[k]) for k, m in enumerate(MODELS)}))
    for i, r in enumerate(right):
        lines.append(dict({"id": str(i), "group": group(i)}, **{m: [r[k], 1, r[k]] for k, m in enumerate(MODELS)}))
    flips = [sum(r[k] != r[0] for r in right) / n for k in range(3)]
    lines.append(dict(metric, metric="flips", direction=-1, ideal=0, **{m: dict(nothing, n=n, value=flips[k]) for k, m in enumerate(MODELS)}))
    for i, r in enumerate(right):
        lines.append(dict({"id": str(i), "group": group(i)}, **{m: [int(r[k] != r[0]), 1, -1] for k, m in enumerate(MODELS)}))
    lines.append(dict(metric, metric="icat", form="other", items=0, **{m: dict(nothing, n=n, value=50 + k) for k, m in enumerate(MODELS)}))
    return lines


class Outcomes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cwp-outcomes-")
        self.addCleanup(self.folder.cleanup)

    def output(self, name, lines):
        path = os.path.join(self.folder.name, name)
        os.makedirs(path, exist_ok=True)
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines).encode()
        with open(os.path.join(path, "outcomes.jsonl"), "wb") as f:
            f.write(text)
        with open(os.path.join(path, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump({"job_digest": "0" * 64, "files": {"outcomes.jsonl": {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}}}, f)
        return path

    def run_worker(self, *words, code, text=None):
        done = subprocess.run([WORKER, *words], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def gate(self, output, gates, code, more=""):
        path = os.path.join(self.folder.name, "gate.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(more + "gate:\n" + "".join("  - %s\n" % g for g in gates))
        return self.run_worker("gate", output, "--with", path, code=code)

    def test_gate(self):
        output = self.output("a", outcome_lines(100, lambda i, m: m == "quantized" and i % 4 == 0 or m == "protected" and i % 50 == 0))
        answer = json.loads(self.gate(output, ["{metric: bias.acc, at-least: 0.95}", "{metric: bias.flips, at-most: 0.05}",
                                               "{metric: bias.acc, not-worse-by: 0.05}", "{metric: bias.flips, at-most-times: 0.1, than: quantized}",
                                               "{metric: bias.icat, at-least: 52}"], 0, "model: m\nevaluate: what is not read\n").stdout)
        self.assertFalse(answer["rejected"])
        self.assertEqual([row["passed"] for row in answer["gate"]], [True] * 5)
        # Agresti and Min: (2.5 - 0.5) / 102, and the error of that.
        centre, error = 2 / 102, math.sqrt(3 - 4 / 102) / 102
        self.assertAlmostEqual(answer["gate"][2]["p"], 0.5 * math.erfc((0.05 - centre) / error / math.sqrt(2)), 12)
        self.assertEqual(answer["gate"][2]["flips"], ["0", "50"])
        self.assertAlmostEqual(answer["gate"][3]["bound"], 0.025)
        answer = json.loads(self.gate(output, ["{metric: bias.acc, at-least: 0.99}", "{metric: bias.acc/x, at-least: 0.9}"], 2).stdout)
        self.assertTrue(answer["rejected"])
        self.assertEqual([row["passed"] for row in answer["gate"]], [False, True])
        self.assertEqual(sorted(os.listdir(output)), ["manifest.json", "outcomes.jsonl"])

    def test_gate_refused(self):
        output = self.output("a", outcome_lines(20, lambda i, m: False, protecting=False))
        for gates, words in ((["{metric: bias.ac, at-most: 1}"], ("did you mean bias.acc?",)),
                             (["{metric: ppl.word, at-most: 1}"], ("ppl.word", "bias.icat")),
                             (["{metric: bias.icat, not-worse-by: 1}"], ("gate[0].not-worse-by", "item")),
                             (["{metric: bias.acc, at-most-times: 1, than: quantized}"], ("nothing is protected",)),
                             (["{metric: bias.acc}"], ("gate.yaml:2:", "has no limit")),
                             (["{metric: bias.acc, at-mots: 1}"], ("gate.yaml:2:", "at-mots", "at-most"))):
            errors = self.gate(output, gates, 65).stderr
            for word in words:
                self.assertIn(word, errors)
        path = os.path.join(self.folder.name, "none.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("model: m\n")
        self.assertIn("gate", self.run_worker("gate", output, "--with", path, code=65).stderr)
        self.run_worker("gate", output, code=64)
        # A daemon asks on a descriptor and gets JSON.
        done = self.run_worker("gate", "--job-fd", "0", "--", output, code=65, text="gate: [{metric: bias.ac, at-most: 1}]\n")
        self.assertEqual(json.loads(done.stdout)["error"]["nearest"], "bias.acc")
        done = self.run_worker("gate", "--job-fd", "0", "--", output, code=0, text="gate: [{metric: bias.acc, at-most: 1}]\n")
        self.assertEqual(json.loads(done.stdout)["rejected"], False)

    def test_files_refused(self):
        good = outcome_lines(3, lambda i, m: False)
        item = good[2]
        for at, line, words in ((0, {"version": 2, "seed": 0, "protecting": True}, (":1:", "version 2")),
                                (0, "\n", (":1:",)), (1, "[1]\n", (":2:", "not an object")),
                                (1, dict(good[1], form="median"), (":2:", "median")), (1, dict(good[1], items=-1), (":2:", "items")),
                                (1, dict(good[1], metric="a b"), (":2:",)), (1, dict(good[1], original=None), (":3:", "original")),
                                (2, dict(item, protected=[1, 1]), (":3:", "protected")), (2, dict(item, protected=[1, -1, 0]), (":3:",)),
                                (2, dict(item, protected=[1, 1, -2]), (":3:",)), (2, {"group": "x"}, (":3:", "id")),
                                (2, dict(item, group="a/b"), (":3:",)), (2, '{"id": "%s"}\n' % ("x" * 70000), (":3:",)),
                                (5, dict(good[5], metric="acc"), (":6:",))):
            output = self.output("bad", good[:at] + [line] + good[at + 1:])
            errors = self.gate(output, ["{metric: bias.acc, at-most: 1}"], 65).stderr
            for word in words:
                self.assertIn(word, errors, line)
        output = self.output("bad", good[:4])
        self.assertIn("ends in the middle", self.gate(output, ["{metric: bias.acc, at-most: 1}"], 65).stderr)
        output = self.output("bad", [])
        self.assertIn("ends in the middle", self.gate(output, ["{metric: bias.acc, at-most: 1}"], 65).stderr)
        output = self.output("bad", good)
        with open(os.path.join(output, "outcomes.jsonl"), "a", encoding="utf-8") as f:
            f.write("\n")
        self.assertIn("was changed later", self.gate(output, ["{metric: bias.acc, at-most: 1}"], 65).stderr)
        os.unlink(os.path.join(output, "outcomes.jsonl"))
        self.assertIn("outcomes.jsonl", self.gate(output, ["{metric: bias.acc, at-most: 1}"], 65).stderr)
        with open(os.path.join(output, "manifest.json"), "w", encoding="utf-8") as f:
            f.write('{"files": {}}')
        self.assertIn("run it again", self.gate(output, ["{metric: bias.acc, at-most: 1}"], 65).stderr)

    def test_compare(self):
        first = self.output("a", outcome_lines(200, lambda i, m: m == "protected" and i % 10 == 0))
        second = self.output("b", list(reversed_items(outcome_lines(200, lambda i, m: m == "protected" and i % 20 == 0))))
        other = self.output("c", outcome_lines(200, lambda i, m: False, data="e" * 64))
        answer = json.loads(self.run_worker("compare", first, second, other, code=0).stdout)
        rows = {row["metric"]: row for row in answer["comparison"]["metrics"]}
        self.assertEqual(list(rows), ["acc", "flips", "icat"])
        self.assertEqual([v["value"] for v in rows["acc"]["values"]], [0.9, 0.95, 1.0])
        self.assertIsNone(rows["acc"]["differences"][0])
        self.assertIsNone(rows["acc"]["differences"][2])  # measured on other data
        difference = rows["acc"]["differences"][1]
        self.assertAlmostEqual(difference["value"], 0.05)
        self.assertEqual({k: difference["flips"][k] for k in ("n", "count", "up", "down")}, {"n": 200, "count": 10, "up": 10, "down": 0})
        self.assertAlmostEqual(difference["flips"]["p"], 2 ** -9)
        self.assertTrue(0 < difference["low"] < 0.05 < difference["high"] < 0.1)
        self.assertAlmostEqual(rows["flips"]["differences"][1]["value"], -0.05)
        self.assertEqual(rows["icat"]["differences"][1]["value"], 0)
        self.assertIsNone(rows["icat"]["differences"][1]["low"])
        html = answer["html"]
        self.assertTrue(html.startswith("<!DOCTYPE html>") and html.rstrip().endswith("</html>"))
        self.assertIn("<code>bias.acc</code>", html)
        self.assertIn("10 flips", html)
        self.assertNotIn("<script", html)
        self.run_worker("compare", first, code=64)
        self.assertIn("manifest.json", self.run_worker("compare", first, self.folder.name, code=65).stderr)
        with open(os.path.join(other, "manifest.json"), "w", encoding="utf-8") as f:
            f.write('{"files": {}}')  # a job that evaluated nothing
        rows = json.loads(self.run_worker("compare", other, first, code=0).stdout)["comparison"]["metrics"]
        self.assertEqual([[v and v["value"] for v in row["values"]] for row in rows], [[None, 0.9], [None, 0.1], [None, 52]])


def reversed_items(lines):
    """The same outcomes, the items of each metric in the opposite order."""
    held = []
    for line in lines:
        if "id" in line:
            held.append(line)
            continue
        yield from reversed(held)
        held = []
        yield line
    yield from reversed(held)


if __name__ == "__main__":
    if not os.path.exists(WORKER):
        print("skipped: no cwp-worker")
        sys.exit(77)
    unittest.main(verbosity=2)

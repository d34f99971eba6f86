#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""How scores become a choice: ranks against their definition, from statistics that the engine prints; scores stored in half
of the space or only as candidates; the same bytes with other threads and after kills."""
import os
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import Watch, WORKER, floats, golden, make_model, protected_positions, read_folder, read_safetensors

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

    def watched(self, job, output, name):
        """Runs a job; what it took is within what was stated. Returns the stated bounds."""
        scratch = self.path(name)
        os.mkdir(scratch)
        plan = self.inspect("plan", job)[0]
        watch = Watch([WORKER, "run", job, "--threads", "2", "--scratch", scratch], scratch)
        self.assertEqual(watch.process.returncode, 0, watch.stderr)
        report = self.load(output, "report.json")
        self.assertEqual(report["bounds"], plan["bounds"])
        self.assertGreater(watch.scratch, 0)
        self.assertLessEqual(watch.scratch, plan["bounds"]["scratch"])
        if not worker_test.sanitized():
            self.assertLessEqual(max([watch.memory] + [s["peak_memory_bytes"] for s in report["stages"]]),
                plan["bounds"]["memory"])
        self.assertEqual(os.listdir(scratch), [])
        return plan["bounds"]

    def test_halves(self):
        """score.store: bf16 takes half of the sets' space; few weights change sides, and ties make more of them protected."""
        model = make_model(self.path("model"), layers=2)
        parts = self.protecting(options={"error-aware": False})
        bounds, places = {}, {}
        for store in ("f32", "bf16"):
            parts["score"] = dict(parts["score"], store=store)
            job, output = self.job(model, **parts)
            bounds[store] = self.watched(job, output, store)
            places[store] = self.places(output)
        weights = self.load(output, "report.json")["protection"]["weights"]
        self.assertEqual(bounds["f32"]["scratch"] - bounds["bf16"]["scratch"], weights * 2 * 2)
        self.assertGreaterEqual(len(places["bf16"]), len(places["f32"]))
        self.assertGreater(len(places["bf16"] & places["f32"]), 0.97 * len(places["f32"]))
        self.assertNotEqual(places["bf16"], places["f32"])
        # What lies on scratch for one form is nothing to the other.
        self.assertNotEqual(self.load(output, "manifest.json")["job_digest"],
            self.load(self.path("out1"), "manifest.json")["job_digest"])

    def test_same_bytes(self):
        """Threads change nothing, and neither does the death of a worker after some layers."""
        model = make_model(self.path("model"), layers=3, hidden=64, wide=96)
        for score in ({"combine": "rank"}, {"store": "bf16"}, {"combine": "rank", "store": "bf16", "utility": "subtract"}):
            parts, digests = self.protecting(**score), set()
            for threads in ("1", "2", "5"):
                job, output = self.job(model, **parts)
                done = self.worker("run", job, "--threads", threads)
                self.assertEqual(done.returncode, 0, done.stderr)
                digests.add(self.digest(output))
            for last in ("score-0-1", "combined-1"):
                digests.add(self.digest(self.resumed(model, parts, last)))
            self.assertEqual(len(digests), 1, score)

    def test_pilot_of_all(self):
        """Where a pilot is all of a set's samples its factors are the exact ones, and so are the weights that are found among
        the few that were kept; by any scorer, however scores are stored, with factors or without."""
        for model, scorer, fraction, score in (("smollm2", "fisher", 0.05, {}), ("smollm2", "fisher", 0.001, {"utility": "subtract"}),
                ("llama31", "fisher", 0.3, {"combine": "reference"}), ("smollm2", "wanda", 0.1, {}), ("smollm2", "control", 0.1, {}),
                ("qwen2moe", "gradient", 0.02, {"store": "bf16"}), ("llama31", "fisher", 0.00001, {})):
            found = {}
            for scale in ("exact", "pilot"):
                job, output = self.job(model, **self.protecting(scorer, fraction, scale=scale, **score))
                self.run_job(job)
                protection = self.load(output, "report.json")["protection"]
                found[scale] = (self.digest(output), protection["threshold"], protection["nonpositive"],
                    [(s["factor"], s["share"], s["total"]) for s in protection["sets"]])
                self.assertEqual(protection["scoring"]["scale"], scale)
            self.assertEqual(found["pilot"], found["exact"], (model, scorer, score))

    def pilot_parts(self, scorer="fisher", fraction=0.02, **score):
        """Sets of more samples than their pilots have."""
        parts = self.protecting(scorer, fraction, scale="pilot", **score)
        self.samples("critical.jsonl", count=30, length=12, signed=True)
        self.samples("utility.jsonl", count=70, length=10, seed=2)
        return parts

    def test_pilot(self):
        """Factors from an eighth of the samples, no fewer than eight: what they say is what is done, in less scratch than the
        exact way takes, as stated."""
        model = make_model(self.path("model"), layers=12, hidden=128, wide=320)
        parts = self.pilot_parts(options={"error-aware": False})
        job, output = self.job(model, **parts)
        bounds = self.watched(job, output, "few")
        protection = self.load(output, "report.json")["protection"]
        mine = self.places(output)
        self.assertEqual(len(mine), int(0.02 * protection["weights"]))
        parts["score"]["scale"] = "exact"
        exact_job, exact = self.job(model, **parts)
        exact_bounds = self.watched(exact_job, exact, "all")
        self.assertLess(bounds["scratch"], 0.5 * exact_bounds["scratch"])
        exactly = self.load(exact, "report.json")["protection"]
        # Other factors, but of the same scale; mostly the same weights.
        for a, b in zip(protection["sets"], exactly["sets"]):
            self.assertNotEqual(a["factor"], b["factor"])
            self.assertLess(abs(a["factor"] / b["factor"] - 1), 0.5)
            self.assertEqual(a["total"], b["total"])
        self.assertGreater(len(mine & self.places(exact)), 0.8 * len(mine))
        # The exact way with the pilot's factors, written as beta: the same choice.
        safety, text = (s["factor"] for s in protection["sets"])
        parts["score"] = {"plugin": "fisher", "combine": "reference", "utility": "add", "beta": text / safety}
        job, output = self.job(model, **parts)
        self.run_job(job)
        self.assertGreater(len(mine & self.places(output)), 0.999 * len(mine))

    def test_pilot_resumed(self):
        """Kills in the pilot, while candidates are written, while they are written anew, and later: the same bytes."""
        model = make_model(self.path("model"), layers=8, hidden=64, wide=96)
        for parts in (self.pilot_parts(fraction=0.05), self.pilot_parts("wanda", combine="reference", utility="add")):
            digests = set()
            for threads in ("2", "5"):
                job, output = self.job(model, **parts)
                done = self.worker("run", job, "--threads", threads)
                self.assertEqual(done.returncode, 0, done.stderr)
                digests.add(self.digest(output))
            for last in ("journal", "score-1-5", "candidates-4-0", "candidates-5-1"):
                digests.add(self.digest(self.resumed(model, parts, last)))
            self.assertEqual(len(digests), 1, parts["score"])

    def test_pilot_damaged(self):
        """Candidates that are not what was written: scored anew."""
        model = make_model(self.path("model"), layers=6, hidden=64, wide=96)
        parts = self.pilot_parts()
        job, whole = self.job(model, **parts)
        self.run_job(job)
        for damage in (lambda p: os.truncate(p, os.path.getsize(p) - 3), os.unlink, self.flip):
            job, output = self.job(model, **parts)
            scratch = self.path("." + os.path.basename(output) + ".cwp-scratch")
            process = subprocess.Popen([WORKER, "run", job, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not (os.path.isdir(scratch) and
                    any(n.startswith("candidates-3-") for n in os.listdir(scratch))):
                time.sleep(0.0005)
            process.kill()
            process.wait()
            found = [n for n in os.listdir(scratch) if n.startswith("candidates-5-")] if os.path.isdir(scratch) else []
            if found:
                damage(os.path.join(scratch, found[0]))
            self.run_job(job)
            self.assertEqual(self.digest(output), self.digest(whole))

    def flip(self, path):
        with open(path, "r+b") as f:
            f.seek(100)
            byte = f.read(1)
            f.seek(100)
            f.write(bytes([byte[0] ^ 1]))

    def test_pilot_refused(self):
        for protect, score in (({"scope": "layer"}, {}), ({"unit": "column"}, {}), ({}, {"combine": "rank"})):
            parts = self.protecting(scale="pilot", **score)
            parts["protect"].update(protect)
            job, output = self.job("smollm2", **parts)
            said = self.run_job(job, status=65)
            self.assertIn("score.scale: pilot keeps only", said)
            self.assertIn("scale: exact", said)
            self.assert_nothing(output)

    def test_report(self):
        """How scores were made, which modules they protect most, and how many weights they find worthless."""
        for score, error_aware in (({"combine": "reference", "beta": 2.0}, False), ({"combine": "rank", "utility": "ignore"}, True)):
            parts = self.protecting(**score)
            job, output = self.job("smollm2", **parts)
            self.run_job(job)
            protection = self.load(output, "report.json")["protection"]
            said = protection["scoring"]
            self.assertEqual((said["plugin"], said["combine"], said["error_aware"]), ("fisher", score["combine"], error_aware))
            self.assertEqual((said["utility"], said["beta"], said["store"]),
                (score.get("utility", "subtract"), score.get("beta", 1.0), "f32"))
            shapes = {n[:-len(".weight")]: t[1] for n, t in read_folder(golden("smollm2")).items()}
            want = sorted(((-n / (shapes[m][0] * shapes[m][1]), m) for m, n in protection["per_module"].items() if n > 0))
            top = protection["top_modules"]
            self.assertEqual([m["share"] for m in top], [-s for s, _ in want[:10]])
            for m in top:
                self.assertEqual((m["protected"], m["weights"]),
                    (protection["per_module"][m["module"]], shapes[m["module"]][0] * shapes[m["module"]][1]))
            self.assertEqual(protection["unseen_experts"], [])
            self.assertAlmostEqual(protection["nonpositive_share"], protection["nonpositive"] / protection["weights"])
            self.assertEqual(self.load(output, "manifest.json")["factors"], {s["name"]: s["factor"] for s in protection["sets"]})
            if score["combine"] == "reference":
                a, b = (self.importances(self.path(n), n) for n in ("critical.jsonl", "utility.jsonl"))
                bad = sum(x / 6 <= 2 * y / 4 for m in a for x, y in zip(a[m], b[m]))
                self.assertGreater(bad, 0)
                self.assertLess(abs(protection["nonpositive"] - bad), 20)

    def test_unseen_experts(self):
        """Two tokens cannot reach all experts: those that they miss are named, in the report and in one line of the log, by
        an attempt that goes on from another's work too."""
        few = self.write("few.jsonl", '{"ids": [5, 6], "weights": [0, 1]}\n')
        parts = {"calibrate": {"critical": [{"name": "few", "data": "samples", "path": few}]}, "score": {"plugin": "fisher"},
            "protect": {"fraction": 0.01}}
        out = self.path("statistics.safetensors")
        self.inspect("statistics", golden("qwen2moe"), "--samples", few, "--out", out)
        found = read_safetensors(out)
        reached = {}
        for name, tensor in found.items():
            if name.startswith("grad_sq/") and ".experts." in name:
                expert = name[len("grad_sq/"):].rsplit(".", 2)[0]
                reached[expert] = reached.get(expert, False) or any(floats(tensor))
        unseen = sorted(e for e, r in reached.items() if not r)
        self.assertTrue(0 < len(unseen) < len(reached), reached)
        job, output = self.job("qwen2moe", **parts)
        said = self.run_job(job)
        line = "no token of any set reached %d of %d experts, such as %s" % (len(unseen), len(reached), unseen[0])
        self.assertEqual(said.count(line), 1, said)
        report = self.load(output, "report.json")
        self.assertEqual(sorted(report["protection"]["unseen_experts"]), unseen)
        self.assertEqual([w.count(line) for w in report["warnings"]].count(1), 1)
        # Enough tokens reach all.
        many = self.samples("many.jsonl", 20, 60)
        parts["calibrate"]["critical"][0]["path"] = many
        job, output = self.job("qwen2moe", **parts)
        self.assertNotIn("no token", self.run_job(job))
        self.assertEqual(self.load(output, "report.json")["protection"]["unseen_experts"], [])
        # The control needs no token at all.
        job, output = self.job("qwen2moe", **dict(parts, score={"plugin": "control"}))
        self.assertNotIn("no token", self.run_job(job))
        self.assertEqual(self.load(output, "report.json")["protection"]["unseen_experts"], [])
        # After a kill in the selection all layers come from the journal.
        parts["calibrate"]["critical"][0]["path"] = few
        output = self.resumed(golden("qwen2moe"), parts, "combined-0")
        self.assertEqual(sorted(self.load(output, "report.json")["protection"]["unseen_experts"]), unseen)

    def resumed(self, model, parts, last):
        """Output of a job whose worker was killed when it had begun the file `last`."""
        job, output = self.job(model, **parts)
        scratch = self.path("." + os.path.basename(output) + ".cwp-scratch")
        process = subprocess.Popen([WORKER, "run", job, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (os.path.isdir(scratch) and any(n.startswith(last) for n in os.listdir(scratch))):
            time.sleep(0.0005)
        process.kill()
        process.wait()
        if not os.path.exists(os.path.join(output, "manifest.json")):
            self.run_job(job)
        self.assert_tidy(output)
        return output


if __name__ == "__main__":
    worker_test.main()

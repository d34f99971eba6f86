#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs in the foreground on small models: every quantizer, scorer, carrier and format; what their outputs hold, that
the engine computes with exactly the values of the dense form, that threads change no byte, that bounds hold."""
import json
import math
import os
import resource
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import INSPECT, WORKER, Watch, floats, golden, protected_positions, read_folder, read_safetensors

IDS = [[5, 100, 200, 300, 7, 8, 9, 10, 11, 400], [3, 4, 511]]
STAGES = ["open", "calibrate", "score", "select", "quantize", "write", "evaluate", "gate", "report"]
MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj"]


def static(bits, granularity, symmetric=True, group=32):
    options = {"bits": bits, "granularity": granularity, "symmetric": symmetric}
    if granularity == "group":
        options["group"] = group
    return {"plugin": "static", "options": options}


class Run(worker_test.WorkerTest):
    def check_report(self, output, fraction, scored):
        report, manifest = self.load(output, "report.json"), self.load(output, "manifest.json")
        names = [s["name"] for s in report["stages"]]
        self.assertEqual(names, STAGES if scored else [s for s in STAGES if s not in ("calibrate", "score")])
        for stage in report["stages"]:
            self.assertEqual(set(stage), {"name", "seconds", "tokens", "peak_memory_bytes"})
            self.assertGreaterEqual(stage["seconds"], 0)
            self.assertGreater(stage["peak_memory_bytes"], 1 << 20)
        if scored:
            self.assertGreater(report["stages"][1]["tokens"], 0)
        self.assertEqual(set(report["bounds"]), {"memory", "gpu_memory", "scratch"})
        self.assertEqual(report["job"]["output"], output)
        self.assertEqual((report["evaluation"], report["gate"]), ([], []))
        protection = report["protection"]
        weights = sum(math.prod(t[1]) for n, t in read_folder(report["job"]["model"]).items()
            if any(n.endswith(m + ".weight") for m in MODULES))
        self.assertEqual(protection["weights"], weights)
        self.assertEqual(protection["protected"], int(fraction * weights))
        self.assertEqual(protection["protected"], sum(protection["per_module"].values()))
        self.assertEqual(len(protection["per_module"]) % len(MODULES), 0)
        self.assertIn("model.layers.0.mlp.down_proj", protection["per_module"])
        self.assertEqual(protection["threshold"] is None, fraction == 0)
        self.assertEqual(manifest["counts"]["protected"], protection["protected"])
        self.assertEqual(manifest["counts"]["weights"], weights)
        self.assertTrue({"job_digest", "inputs", "plugins", "backend", "seed", "files", "content_digest"} <= set(manifest))
        self.assertEqual({p["kind"] for p in manifest["plugins"]}, {"quantizer", "backend"} | ({"scorer"} if scored else set()))
        for name, file in manifest["files"].items():
            self.assertEqual(os.path.getsize(os.path.join(output, name)), file["size"])
        with open(os.path.join(output, "report.html"), encoding="utf-8") as f:
            html = f.read()
        self.assertIn("</html>", html)
        for word in ("http://", "https://", "<script", " src="):
            self.assertNotIn(word, html.replace("http://www.w3.org", ""))
        return report

    def check_output(self, output, model, fraction=0.0, scored=False, overlay=False, exact=True):
        """exact: activations are not rounded, so that the dense form computes the same."""
        report = self.check_report(output, fraction, scored)
        self.assert_tidy(output)
        self.assertEqual(self.inspect("verify", output)[0]["content_digest"], self.digest(output))
        dense = self.path(os.path.basename(output) + "-dense")
        self.inspect("dense", output, "--out", dense)
        mine, twin = self.logits(output, "a", IDS), self.logits(dense, "b", IDS)
        self.assertEqual(mine == twin, exact, "the output does not compute what its dense form computes")
        apart = max(abs(x - y) for n in mine for x, y in zip(floats(mine[n]), floats(twin[n])))
        self.assertLess(apart, 0.2)
        original_folder = model if "/" in model else golden(model)
        original = self.logits(original_folder, "c", IDS)
        self.assertFalse(mine == original)
        distance = max(abs(x - y) for n in mine for x, y in zip(floats(mine[n]), floats(original[n])))
        self.assertLess(distance, 5.0)
        places = protected_positions(output)
        source, decoded = read_folder(original_folder), read_folder(dense)
        self.assertEqual(set(source), set(decoded))
        if overlay:
            self.assertEqual({m: len(p) for m, p in places.items()},
                {m: n for m, n in report["protection"]["per_module"].items() if n > 0})
        for module, list_ in places.items():
            a, b = floats(source[module + ".weight"]), floats(decoded[module + ".weight"])
            cols = source[module + ".weight"][1][1]
            for row, col, _ in list_:
                self.assertEqual(a[row * cols + col], b[row * cols + col], (module, row, col))
        return report

    def test_quantizers(self):
        cases = [static(bits, granularity, symmetric) for bits in (8, 4) for granularity in ("channel", "group")
            for symmetric in (True, False)] + [static(3, "channel"), static(3, "group"), {"plugin": "int8"},
            {"plugin": "fp8"}] + [{"plugin": p, "options": {"activations": "none"}} for p in ("int8", "fp8")]
        for i, quantize in enumerate(cases):
            model = ("llama31", "smollm2")[i % 2]
            with self.subTest(quantize=quantize, model=model):
                three = quantize.get("options", {}).get("bits") == 3  # which no engine loads
                parts = self.protecting("fisher", carrier="dense" if three else "overlay")
                job, output = self.job(model, quantize=quantize, **parts)
                self.run_job(job)
                self.check_output(output, model, 0.05, True, not three, "activations" in str(quantize) or "static" in str(quantize))

    def test_scorers(self):
        cases = [("fisher", {"combine": "mean", "utility": "add", "options": {"error-aware": False}}),
            ("fisher", {"combine": "mean", "utility": "ignore"}), ("fisher", {"combine": "reference", "utility": "subtract"}),
            ("gradient", {"combine": "reference"}), ("gradient", {"combine": "mean", "utility": "subtract", "beta": 0.5}),
            ("gradient", {"combine": "mean", "options": {"form": "signed"}}),
            ("gradient", {"combine": "mean", "options": {"form": "snip"}}), ("wanda", {"combine": "mean"})]
        masks = set()
        for scorer, score in cases:
            with self.subTest(scorer=scorer, score=score):
                job, output = self.job("smollm2", **self.protecting(scorer, **score))
                self.run_job(job)
                report = self.check_output(output, "smollm2", 0.05, True, True)
                masks.add(tuple((m, r, c) for m, p in sorted(protected_positions(output).items()) for r, c, _ in p))
                sets = {s["name"]: s for s in report["protection"]["sets"]}
                self.assertEqual(sets["safety"]["role"], "critical")
                self.assertAlmostEqual(sum(s["share"] for s in sets.values()), 1.0)
                factor = sets["text"]["factor"]
                utility = score.get("utility", "subtract" if score["combine"] == "reference" else "add")
                self.assertTrue({"add": factor > 0, "subtract": factor < 0, "ignore": factor == 0}[utility], (utility, factor))
        self.assertEqual(len(masks), len(cases), "two ways of scoring protect the same weights")

    def test_selection(self):
        """The protected weights are those of the largest importance, computed here from the engine's statistics."""
        samples = self.samples("critical.jsonl", signed=True)
        statistics = self.path("statistics.safetensors")
        self.inspect("statistics", golden("smollm2"), "--samples", samples, "--out", statistics)
        found, weights = read_safetensors(statistics), read_folder(golden("smollm2"))
        for scorer, options in (("fisher", {"error-aware": False}), ("wanda", {}), ("gradient", {"form": "absolute"})):
            importance = []
            for name, tensor in weights.items():
                if not any(name.endswith(m + ".weight") for m in MODULES):
                    continue
                module, cols = name[:-len(".weight")], tensor[1][1]
                if scorer == "wanda":
                    norm = [math.sqrt(x) for x in floats(found["act_sq/" + module])]
                    values = [abs(w) * norm[i % cols] for i, w in enumerate(floats(tensor))]
                else:
                    values = floats(found[("grad_sq/" if scorer == "fisher" else "grad_abs/") + name])
                importance += [(v, module, i // cols, i % cols) for i, v in enumerate(values)]
            importance.sort(reverse=True)
            count = int(0.05 * len(importance))
            job, output = self.job("smollm2", calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]},
                score={"plugin": scorer, "combine": "mean", "options": options}, protect={"fraction": 0.05})
            self.run_job(job)
            mine = {(m, r, c) for m, p in protected_positions(output).items() for r, c, _ in p}
            self.assertEqual(len(mine), count)
            # Sums in another order may swap a few neighbours at the threshold.
            limit = importance[count - 1][0]
            for value, module, row, col in importance:
                if abs(value - limit) > 1e-4 * limit:
                    self.assertEqual((module, row, col) in mine, value > limit, (scorer, module, row, col))

    def test_units_and_scopes(self):
        """Whole columns, rows and modules by the mean of their importances, and thresholds of single layers and rows, as
        they follow from the engine's own statistics."""
        samples = self.samples("critical.jsonl", signed=True)
        statistics = self.path("statistics.safetensors")
        self.inspect("statistics", golden("smollm2"), "--samples", samples, "--out", statistics)
        found, matrix = read_safetensors(statistics), {}
        for name, tensor in read_folder(golden("smollm2")).items():
            if any(name.endswith(m + ".weight") for m in MODULES):
                values, cols = floats(found["grad_sq/" + name]), tensor[1][1]
                matrix[name[:-len(".weight")]] = [values[i:i + cols] for i in range(0, len(values), cols)]
        fused = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}

        def block(module):
            return module.rsplit(".", 1)[0] + "." + fused.get(module.rsplit(".", 1)[1], module.rsplit(".", 1)[1])

        totals = {}
        for module, rows in matrix.items():
            sums = totals.setdefault(block(module), [0.0, 0])
            sums[0] += sum(map(sum, rows))
            sums[1] += len(rows) * len(rows[0])

        def scores(unit, module, rows):
            """The matrix with every weight's score."""
            if unit == "column":
                means = [sum(column) / len(rows) for column in zip(*rows)]
                return [means] * len(rows)
            if unit == "row":
                return [[sum(row) / len(row)] * len(row) for row in rows]
            if unit == "module":
                total, count = totals[block(module)]
                return [[total / count] * len(rows[0])] * len(rows)
            return rows

        for unit, scope in (("column", "global"), ("row", "global"), ("module", "global"), ("weight", "layer"),
                            ("module", "layer"), ("weight", "row")):
            score = {m: scores(unit, m, rows) for m, rows in matrix.items()}
            groups = {}
            for m, rows in score.items():
                for r, row in enumerate(rows):
                    group = {"global": "", "layer": m.split(".")[2], "row": (m, r)}[scope]
                    groups.setdefault(group, []).append((m, r, row))
            job, output = self.job("smollm2", calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]},
                score={"plugin": "fisher", "combine": "mean", "options": {"error-aware": False}},
                protect={"fraction": 0.1, "unit": unit, "scope": scope})
            self.run_job(job)
            mine, count = {}, 0
            for m, positions in protected_positions(output).items():
                for r, c, _ in positions:
                    mine.setdefault((m, r), set()).add(c)
                    count += 1
            for members in groups.values():
                values = sorted((v for _, _, row in members for v in row), reverse=True)
                limit = values[int(0.1 * len(values)) - 1]
                for m, r, row in members:
                    inside = mine.get((m, r), set())
                    wrong = [c for c, v in enumerate(row) if abs(v - limit) > 1e-4 * limit and (c in inside) != (v > limit)]
                    self.assertFalse(wrong, (unit, scope, m, r))
                    # A unit is taken whole or not at all.
                    self.assertTrue(unit not in ("row", "module") or len(inside) in (0, len(row)), (unit, scope, m, r))
                taken = sum(len(mine.get((m, r), ())) for m, r, _ in members)
                self.assertGreaterEqual(taken, int(0.1 * len(values)) * 0.99, (unit, scope))
            protection = self.load(output, "report.json")["protection"]
            self.assertEqual(protection["protected"], count)
            self.assertEqual(protection["threshold"] is None, scope != "global")
            self.assertEqual(len(protection["thresholds"]), len(groups) if scope == "layer" else 0)

    def test_carriers_and_formats(self):
        for carrier, form in (("overlay", "compressed-tensors"), ("none", "compressed-tensors"), ("dense", "compressed-tensors"),
                ("overlay", "dense"), ("dense", "dense"), ("none", "dense")):
            with self.subTest(carrier=carrier, format=form):
                job, output = self.job("llama31", write={"format": form}, **self.protecting(carrier=carrier))
                self.run_job(job)
                none = carrier == "none"
                overlay = carrier == "overlay" and form == "compressed-tensors"
                report = self.check_output(output, "llama31", 0 if none else 0.05, not none, overlay)
                self.assertEqual(os.path.exists(os.path.join(output, "protected.safetensors")), overlay)
                config = self.load(output, "config.json")
                self.assertEqual("quantization_config" in config, form == "compressed-tensors" and carrier != "dense")
                if carrier == "dense":
                    # As many weights as are protected, or more by chance, are exact.
                    a, b = read_folder(golden("llama31")), read_folder(output)
                    for module, count in report["protection"]["per_module"].items():
                        same = sum(x == y for x, y in zip(floats(a[module + ".weight"]), floats(b[module + ".weight"])))
                        self.assertGreaterEqual(same, count, module)

    def test_other_formats(self):
        """The same overlay stands beside every format of codes."""
        for form, quantize, carrier, exact in (("bitsandbytes", {"plugin": "int8"}, "overlay", False),
                ("gptq", static(4, "group"), "overlay", True), ("gptq", static(8, "channel"), "none", True)):
            with self.subTest(format=form, carrier=carrier):
                job, output = self.job("smollm2", write={"format": form}, quantize=quantize, **self.protecting(carrier=carrier))
                self.run_job(job)
                kept = carrier == "overlay"
                self.check_output(output, "smollm2", 0.05 if kept else 0, kept, kept, exact)
                self.assertEqual(self.load(output, "config.json")["quantization_config"]["quant_method"], form)

    def test_plain_and_skip(self):
        job, output = self.job("llama31", quantize={"plugin": "int8"})
        self.run_job(job)
        self.check_output(output, "llama31", exact=False)
        job, output = self.job("llama31", quantize={"plugin": "int8", "skip": ["lm_head", "model.layers.1", "mlp.up_proj"]},
            **self.protecting(fraction=0.02))
        self.run_job(job)
        modules = self.load(output, "report.json")["protection"]["per_module"]
        self.assertEqual(set(modules), {"model.layers.0." + m for m in MODULES if m != "mlp.up_proj"})
        a, b = read_folder(golden("llama31")), read_folder(output)
        for name in ("model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"):
            self.assertTrue(a[name] == b[name], name)
        self.inspect("verify", output)

    def test_fractions(self):
        for fraction in (0, 0.00001, 0.3, 0.999):
            job, output = self.job("smollm2", **self.protecting("wanda", fraction))
            self.run_job(job)
            report = self.load(output, "report.json")
            count = int(fraction * report["protection"]["weights"])
            self.assertEqual(report["protection"]["protected"], count)
            self.assertEqual(sum(len(p) for p in protected_positions(output).values()), count)

    def test_shards(self):
        model = worker_test.make_model(self.path("model"))
        parts = dict(self.protecting(), write={"format": "dense"})
        one, whole = self.job(model, **parts)
        many, sharded = self.job(model, **dict(parts, write={"format": "dense", "shard": "1MB"}))
        self.run_job(one)
        self.run_job(many)
        files = [f for f in os.listdir(sharded) if f.startswith("model-")]
        self.assertGreater(len(files), 3)
        index = self.load(sharded, "model.safetensors.index.json")["weight_map"]
        self.assertEqual(set(index.values()), set(files))
        self.assertTrue(read_folder(whole) == read_folder(sharded))
        self.check_output(sharded, model, 0.05, True)
        # What was written in shards is read in shards.
        again, output = self.job(sharded, **dict(parts, write={"shard": "1MB"}, quantize=static(4, "channel")))
        self.run_job(again)
        self.check_output(output, sharded, 0.05, True, True)

    def test_three_bits(self):
        """Refused before anything is scored."""
        job, output = self.job(quantize=static(3, "group"), **self.protecting())
        said = self.run_job(job, status=65)
        self.assertIn("(int3, groups of 32, symmetric, activations none)", said)
        self.assertNotIn("calibrate", said)
        self.assert_nothing(output)

    def test_group_sizes(self):
        """160 is no multiple of 64: those modules get 32, and the report says so."""
        job, output = self.job("smollm2", quantize=static(4, "group", True, 64))
        self.run_job(job)
        other = {m["module"]: m["group"] for m in self.load(output, "report.json")["protection"]["other_groups"]}
        self.assertEqual(other, {"model.layers.%d.mlp.down_proj" % l: 32 for l in range(2)})
        self.check_output(output, "smollm2")

    def test_threads(self):
        """The same bytes with 1, 2 (on processors of their own) and 5 threads, with the scalar kernels too; inputs are named by
        content."""
        parts = self.protecting()
        own = ["--cpus", ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))]
        for cpu in ("", "scalar"):
            env = dict(os.environ)
            env.pop("CWP_CPU", None)
            if cpu:
                env["CWP_CPU"] = cpu
            digests = set()
            for threads in ("1", "2", "5"):
                job, output = self.job("llama31", **parts)
                done = self.worker("run", job, "--threads", threads, *(own if threads == "2" else []), env=env)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotIn("the system does not give", done.stderr)
                digests.add(self.digest(output))
                backend = self.load(output, "manifest.json")["backend"]
                self.assertEqual("scalar" in backend, cpu == "scalar", backend)
            self.assertEqual(len(digests), 1, cpu)

    def test_bounds(self):
        """Measured memory and scratch stay below what was stated beforehand."""
        for samples, length in ((4, 16), (120, 100)):
            critical = self.samples("long.jsonl", samples, length)
            job, output = self.job("llama31", calibrate={"critical": [{"name": "s", "data": "samples", "path": critical}]},
                score={"plugin": "fisher"}, protect={"fraction": 0.05})
            plan = self.inspect("plan", job)[0]
            self.assertEqual([s for s in plan["stages"] if s not in ("evaluate", "gate")],
                [s for s in STAGES if s not in ("evaluate", "gate")])
            scratch = self.path("scratch%d" % samples)
            os.mkdir(scratch)
            watch = Watch([WORKER, "run", job, "--threads", "2", "--scratch", scratch], scratch)
            self.assertEqual(watch.process.returncode, 0, watch.stderr)
            report = self.load(output, "report.json")
            self.assertEqual(report["bounds"]["scratch"], plan["bounds"]["scratch"])
            peak = max([watch.memory] + [s["peak_memory_bytes"] for s in report["stages"]])
            if not worker_test.sanitized():
                self.assertLessEqual(peak, report["bounds"]["memory"])
            self.assertGreater(watch.scratch, 0)
            self.assertLessEqual(watch.scratch, report["bounds"]["scratch"])
            self.assertEqual(os.listdir(scratch), [])

    def test_memory_for_speed(self):
        """What a job may take beyond its need is planned, kept to, and changes no byte."""
        critical = self.samples("long.jsonl", 40, 100)
        parts = {"calibrate": {"critical": [{"name": "s", "data": "samples", "path": critical}]}, "score": {"plugin": "fisher"},
            "protect": {"fraction": 0.05}}
        job, output = self.job("llama31", **parts)
        least, some, most = (self.bound(job, *m) for m in (("--memory", "1B"), ("--memory", "1GiB"), ()))
        self.assertGreater(some, least + (1 << 20))
        self.assertEqual(some, most)
        self.assertEqual(self.bound(job, "--memory", "%dB" % (least + 4096)), least + 4096)
        # A limit is the job's own.
        limits = {"memory": "%dB" % (least + (1 << 20))}
        limited, within = self.job("llama31", output=self.path("limited"), limits=limits, **parts)
        self.assertEqual(self.bound(limited, "--memory", "1GiB"), least + (1 << 20))
        exact, tight = self.job("llama31", output=self.path("tight"), limits={"memory": "%dB" % least}, **parts)
        self.assertEqual(self.bound(exact), least)
        self.run_job(job)
        self.run_job(limited)
        self.run_job(exact)
        frugal, small = self.job("llama31", output=self.path("frugal"), **parts)
        self.run_job(frugal, "--memory", "1B")
        self.assertEqual(len({self.digest(o) for o in (output, within, tight, small)}), 1)
        self.assertEqual(self.worker("plan", job, "--memory", "much").returncode, 64)

    def bound(self, job, *more):
        plan = self.worker("plan", job, *more)
        self.assertEqual(plan.returncode, 0, plan.stderr)
        return json.loads(plan.stdout)["bounds"]["memory"]

    def test_plan(self):
        job, output = self.job(**self.protecting())
        mine = self.worker("plan", job)
        self.assertEqual(mine.returncode, 0, mine.stderr)
        self.assert_nothing(output)
        plan = self.inspect("plan", job)[0]
        self.assertEqual(plan["sizes"]["weights"], 86016)
        self.assertEqual(plan["sizes"]["protected"], 4300)
        self.assertEqual(plan["sizes"]["family"], "llama")
        self.assert_nothing(output)

    @unittest.skipUnless(os.path.exists(worker_test.GGUF), "no GGUF of the real model (scripts/packages --model)")
    def test_gguf(self):
        job, output = self.job(worker_test.GGUF, quantize=static(4, "group", True, 64))
        self.run_job(job)
        self.inspect("verify", output)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            self.assertTrue(os.path.exists(os.path.join(output, name)), name)
        names = self.load(output, "report.json")["protection"]["per_module"]
        self.assertIn("model.layers.29.mlp.down_proj", names)
        tokens = self.inspect("tokens", output, lines=[{"text": "The quick brown fox"}])
        self.assertEqual(tokens, self.inspect("tokens", worker_test.GGUF, lines=[{"text": "The quick brown fox"}]))
        peak = max(s["peak_memory_bytes"] for s in self.load(output, "report.json")["stages"])
        if not worker_test.sanitized():
            self.assertLessEqual(peak, self.load(output, "report.json")["bounds"]["memory"])


if __name__ == "__main__":
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A quantizer that is calibrated, in whole jobs: what comes to each module, layer by layer, through what is quantized
already; protected values that it changes; attempts that end in the middle; and what is refused. Standard library only."""
import array
import json
import math
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import worker_test
from byte_tokenizer import write_tokenizer


class Gptq(worker_test.WorkerTest):
    """The real one."""

    def gptq(self, **options):
        return {"plugin": "static", "options": dict({"algorithm": "gptq", "bits": 4, "granularity": "group", "group": 32}, **options)}

    def scratch(self, output):
        return os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".cwp-scratch")

    def test_threads_and_kills(self):
        """1, 2 and 5 threads, and an attempt that is killed when a layer is done: the same bytes, which are not those of rounding
        to nearest."""
        model = worker_test.make_model(self.path("model"), layers=5, hidden=256, wide=704)
        parts = self.protecting()
        plain, first = self.job(model, **parts)
        self.run_job(plain)
        contents = {self.digest(first)}
        for threads in ("1", "2", "5"):
            job, output = self.job(model, quantize=self.gptq(), **parts)
            self.run_job(job, "--threads", threads)
            contents.add(self.digest(output))
            self.assertEqual(len(contents), 2, threads)
        report = self.load(output, "report.json")
        peak = max(s["peak_memory_bytes"] for s in report["stages"] if s["name"] == "quantize")
        self.assertTrue(worker_test.sanitized() or peak < report["bounds"]["memory"], (peak, report["bounds"]))
        job, output = self.job(model, quantize=self.gptq(), **parts)
        worker = subprocess.Popen([worker_test.WORKER, "run", job, "--threads", "1"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        while not os.path.exists(os.path.join(self.scratch(output), "sequence-2")) and worker.poll() is None:
            time.sleep(0.001)
        worker.kill()
        self.assertEqual(worker.wait(), -9)
        self.assertTrue(os.path.exists(os.path.join(self.scratch(output), "sequence.json")))
        self.run_job(job)
        contents.add(self.digest(output))
        self.assertEqual(len(contents), 2)
        # Protected values are compensated ones, unless they are to be the original's.
        self.assertGreater(self.changed(model, output), 0)
        job, output = self.job(model, quantize=self.gptq(protected="original"), **parts)
        self.run_job(job)
        self.assertEqual(self.changed(model, output), 0)

    def changed(self, model, output):
        source = worker_test.read_folder(model)
        count = 0
        for module, places in worker_test.protected_positions(output).items():
            _, (_, cols), data = source[module + ".weight"]
            count += sum(value != data[4 * (row * cols + column):][:4] for row, column, value in places)
        return count

    def test_plain(self):
        """What an evaluation compares with is GPTQ without protection: as a job without it gives, to the last bit."""
        model = worker_test.make_model(self.path("model"), layers=3, hidden=64, wide=160)
        write_tokenizer(model, ["<s>", "</s>"], bos="<s>", eos="</s>")
        text = self.write("text.txt", "".join("This is line %d of a text.\n" % i for i in range(40)))
        evaluate = [{"name": "text", "benchmark": "perplexity", "path": text}]
        parts = self.protecting()
        found = {}
        for name, more in (("both", parts), ("plain", {"calibrate": parts["calibrate"]}), ("rtn", {})):
            quantize = self.gptq(bits=3) if name != "rtn" else self.gptq(bits=3, algorithm="rtn")
            job, output = self.job(model, quantize=quantize, write={"format": "dense"}, evaluate=evaluate, **more)
            self.run_job(job)
            row = self.load(output, "report.json")["evaluation"][0]
            found[name] = {k: row[k]["value"] for k in ("original", "quantized", "protected")}
        self.assertEqual(found["both"]["original"], found["plain"]["original"])
        self.assertEqual(found["plain"]["quantized"], found["plain"]["protected"])
        self.assertTrue(math.isclose(found["both"]["quantized"], found["plain"]["quantized"], rel_tol=1e-7), found)
        self.assertNotEqual(found["both"]["protected"], found["both"]["quantized"])
        self.assertFalse(math.isclose(found["rtn"]["quantized"], found["plain"]["quantized"], rel_tol=1e-5), found)

    def test_experts(self):
        """Experts that no token reaches are rounded to nearest, and the report names them; in all forms of codes."""
        for options in ({}, {"bits": 3, "symmetric": False, "granularity": "channel"}, {"bits": 2, "act-order": False}):
            write = {"format": "dense"} if options else None
            job, output = self.job("mixtral", quantize=self.gptq(**options), write=write,
                calibrate={"critical": [{"name": "s", "data": "samples", "path": self.samples("s.jsonl", count=1, length=3)}]})
            said = self.run_job(job)
            notes = self.load(output, "report.json")["protection"]["quantized_otherwise"]
            self.assertTrue(notes)
            for n in notes:
                self.assertIn(".experts.", n["module"])
                self.assertEqual(n["note"], "rounded to nearest, since no token came to it")
            self.assertEqual(len(notes) % 3, 0)
            self.assertIn("rounded to nearest, since no token came to it", said)
            self.inspect("verify", output)


class Calibrated(worker_test.MockTest):
    mocks = ("mock_quantizer", "asks_gram")

    def setUp(self):
        super().setUp()
        self.model = worker_test.make_model(self.path("model"), layers=3, hidden=64, wide=160)

    def quantizer(self, **options):
        return {"plugin": "mock-quantizer", "options": options}

    def prepared(self, said):
        """module -> (tokens, sum of squares of the first channel, sum of the first row of x x^T), in the order of calls."""
        found = {}
        for line in said.splitlines():
            words = line.split()
            if "prepare" in words:
                at = words.index("prepare")
                found[words[at + 1]] = tuple(float(words[at + i]) for i in (3, 5, 7))
        return found

    def test_inputs(self):
        """No score, no protection: the inputs of each layer are those of the model that is written."""
        samples = self.samples("s.jsonl", count=9, length=31)
        more = self.samples("t.jsonl", count=4, length=17, seed=3)
        job, output = self.job(self.model, quantize=self.quantizer(), write={"format": "dense"}, calibrate={
            "critical": [{"name": "s", "data": "samples", "path": samples}],
            "utility": [{"name": "t", "data": "samples", "path": more}]})
        seen = self.prepared(self.run_mock(job))
        self.assertEqual(len(seen), 3 * 7)
        self.assertEqual({tokens for tokens, _, _ in seen.values()}, {9 * 31 + 4 * 17})
        both = self.path("both.jsonl")
        with open(both, "wb") as f:
            for path in (samples, more):
                with open(path, "rb") as g:
                    f.write(g.read())
        out = {}
        for name, model in (("original", self.model), ("output", output)):
            path = self.path(name + ".safetensors")
            self.inspect("statistics", model, "--samples", both, "--out", path)
            out[name] = worker_test.read_safetensors(path)
        differ = 0
        for layer in range(3):
            module = "model.layers.%d.self_attn.q_proj" % layer
            total = {k: worker_test.floats(v["act_sq/" + module])[0] for k, v in out.items()}
            self.assertTrue(math.isclose(seen[module][1], total["output"], rel_tol=1e-5), (module, seen[module], total))
            differ += not math.isclose(total["output"], total["original"], rel_tol=1e-5)
        self.assertEqual(differ, 2)  # all layers but the first
        # Within a layer the matrices are those of the original: so layer 0 has the original's inputs throughout.
        for module in ("self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
            name = "model.layers.0." + module
            total = worker_test.floats(out["original"]["act_sq/" + name])[0]
            self.assertTrue(math.isclose(seen[name][1], total, rel_tol=1e-5), name)
        report = self.load(output, "report.json")
        self.assertEqual(report["protection"]["quantized_otherwise"],
            [{"module": "model.layers.%d.self_attn.o_proj" % i, "note": "a note of two lines"} for i in range(3)])
        self.assertEqual(len([w for w in report["warnings"] if "3 of 21 modules" in w]), 1, report["warnings"])
        self.assertTrue(all(s["loss"] is None for s in report["protection"]["sets"]))
        self.assert_tidy(output)

    def changed(self, output):
        """Protected values are five quarters of the source's. Returns how many there are."""
        source = worker_test.read_folder(self.model)
        count = 0
        for module, places in worker_test.protected_positions(output).items():
            dtype, (_, cols), data = source[module + ".weight"]
            self.assertEqual(dtype, "F32")
            weight = array.array("f", data)
            for row, column, value in places:
                want = array.array("f", [1.25 * weight[row * cols + column]]).tobytes()
                self.assertEqual(value, want, (module, row, column))
            count += len(places)
        return count

    def test_protected(self):
        parts = self.protecting()
        digests = set()
        for threads in ("1", "2", "5"):
            job, output = self.job(self.model, quantize=self.quantizer(), **parts)
            self.run_job(job, "--plugin-dir", self.plugins, "--threads", threads)
            digests.add(self.digest(output))
        self.assertEqual(len(digests), 1)
        total = sum(self.load(output, "report.json")["protection"]["per_module"].values())
        self.assertGreater(total, 0)
        self.assertEqual(self.changed(output), total)
        self.inspect("verify", output)
        # What is not protected has the plain job's scales; without protection other inputs come to later layers.
        job, plain = self.job(self.model, quantize=self.quantizer(), calibrate=parts["calibrate"])
        self.run_mock(job)
        first, second = worker_test.read_folder(output), worker_test.read_folder(plain)
        for layer in range(3):
            name = "model.layers.%d.self_attn.q_proj.weight_scale" % layer
            self.assertEqual(first[name] == second[name], layer == 0, name)

    def test_resume(self):
        """The process ends in the middle of a layer, or in the first: the next attempt ends with the same bytes."""
        parts = self.protecting()
        file = self.path("stop")
        job, output = self.job(self.model, quantize=self.quantizer(file=file), **parts)
        self.run_mock(job)
        want, size = self.digest(output), 0
        for module in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.layers.2.self_attn.k_proj"):
            self.write("stop", "")
            job, output = self.job(self.model, quantize=self.quantizer(file=file, stop=module), **parts)
            first = self.prepared(self.run_mock(job, status=99))
            self.assertEqual(list(first)[-1], module)
            second = self.prepared(self.run_mock(job))
            layer = int(module.split(".")[2])
            self.assertEqual(list(second)[0], "model.layers.%d.self_attn.q_proj" % layer)
            for name in set(first) & set(second):
                self.assertEqual(first[name], second[name], name)
                size += 1
            self.assertEqual(self.digest(output), want, module)
            notes = self.load(output, "report.json")["protection"]["quantized_otherwise"]
            self.assertEqual([n["module"] for n in notes], ["model.layers.%d.self_attn.o_proj" % i for i in range(3)])
            self.assert_tidy(output)
        self.assertEqual(size, 1 + 6 + 2)

    def test_lost_state(self):
        """What is missing, or is not what was left, is made again."""
        parts = self.protecting()
        file = self.path("stop")
        job, output = self.job(self.model, quantize=self.quantizer(file=file), **parts)
        self.run_mock(job)
        want = self.digest(output)
        for spoil in ("sequence.json", "sequence-2", "cut", "shards"):
            self.write("stop", "")
            job, output = self.job(self.model, quantize=self.quantizer(file=file, stop="model.layers.2.self_attn.o_proj"), **parts)
            self.run_mock(job, status=99)
            scratch = os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".cwp-scratch")
            self.assertEqual(sorted(n for n in os.listdir(scratch) if n.startswith("sequence")), ["sequence-2", "sequence.json"])
            if spoil == "cut":
                with open(os.path.join(scratch, "sequence-2"), "r+b") as f:
                    f.truncate(1000)
            elif spoil == "shards":
                for name in os.listdir(output):
                    if name.startswith(".") and name != ".cwp-job":
                        os.unlink(os.path.join(output, name))
            else:
                os.unlink(os.path.join(scratch, spoil))
            seen = self.prepared(self.run_mock(job))
            self.assertEqual(list(seen)[0], "model.layers.0.self_attn.q_proj", spoil)
            self.assertEqual(self.digest(output), want, spoil)

    def test_skipped_layers(self):
        """Where nothing of a layer is quantized it is passed, not measured."""
        samples = self.samples("s.jsonl")
        quantize = self.quantizer()
        quantize["skip"] = ["model.layers.1", "lm_head", "model.layers.2.self_attn.q_proj"]
        job, output = self.job(self.model, quantize=quantize,
            calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]})
        done = self.worker("run", job, "--threads", "2", "--plugin-dir", self.plugins)
        # k_proj is the first to be quantized of the three that share an input, which the mock takes for a fault.
        self.assertIn("the state before is not that of the same input", done.stderr)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assert_nothing(output)
        quantize["skip"] = ["model.layers.1", "lm_head"]
        job, output = self.job(self.model, quantize=quantize,
            calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]})
        seen = self.prepared(self.run_mock(job))
        self.assertEqual({name.split(".")[2] for name in seen}, {"0", "2"})

    def test_refused(self):
        samples = {"critical": [{"name": "s", "data": "samples", "path": self.samples("s.jsonl")}]}
        cases = [
            (dict(quantize=self.quantizer()), "add sets to calibrate"),
            (dict(quantize=self.quantizer(fault="gradients"), calibrate=samples), "statistics that quantizers cannot have"),
            (dict(quantize=self.quantizer(fault="fails"), calibrate=samples),
                "plugin 'mock-quantizer': model.layers.0.self_attn.q_proj: the mock fails"),
            (dict(score={"plugin": "asks-gram"}, calibrate=samples, protect={"fraction": 0.1}), "statistics that scorers cannot have"),
        ]
        for parts, text in cases:
            job, output = self.job(self.model, **parts)
            done = self.worker("run", job, "--plugin-dir", self.plugins)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(text, done.stderr)
            self.assert_nothing(output)
        job, _ = self.job(self.model, quantize=self.quantizer(fault="not-needed"))
        self.run_mock(job)

    def test_bounds(self):
        """The peak stays below what the plan says, and scratch too."""
        samples = self.samples("s.jsonl", count=40, length=200)
        model = worker_test.make_model(self.path("larger"), layers=2, hidden=512, wide=1536)
        job, output = self.job(model, quantize=self.quantizer(), calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]})
        scratch = self.path("scratch")
        os.mkdir(scratch)
        watch = worker_test.Watch([worker_test.WORKER, "run", job, "--threads", "2", "--plugin-dir", self.plugins,
            "--scratch", scratch], scratch)
        self.assertEqual(watch.process.returncode, 0, watch.stderr)
        report = self.load(output, "report.json")
        stage = [s for s in report["stages"] if s["name"] == "quantize"][0]
        if not worker_test.sanitized():
            self.assertLess(stage["peak_memory_bytes"], report["bounds"]["memory"])
        self.assertGreaterEqual(report["bounds"]["scratch"], 2 * 40 * 200 * 512 * 4)
        self.assertGreater(watch.scratch, 0)
        self.assertLessEqual(watch.scratch, report["bounds"]["scratch"])


if __name__ == "__main__":
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A quantizer that scales channels, in whole jobs: where scales go, what the plugin then sees, protected values, attempts
that end in the middle, every family, and what is refused. Standard library only."""
import array
import json
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import worker_test
from byte_tokenizer import write_tokenizer

HIDDEN, WIDE = 64, 160
FAMILIES = ("llama31", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "mixtral", "qwen2moe", "olmo2")


def power(channel):
    """The mock's scale: a power of two, so that products are exact."""
    return float(1 << channel % 4) / 2


class Smoothing(worker_test.MockTest):
    mocks = ("mock_quantizer", "not_smooth")

    def setUp(self):
        super().setUp()
        self.model = worker_test.make_model(self.path("model"), layers=3, hidden=HIDDEN, wide=WIDE)

    def quantizer(self, scales="powers", **options):
        return {"plugin": "mock-quantizer", "options": dict(options, scales=scales)}

    def said(self, text, verb):
        """module -> what the plugin said of it, in the order of calls."""
        found = {}
        for line in text.splitlines():
            words = line.split()
            if verb in words:
                at = words.index(verb)
                found[words[at + 1]] = {words[i]: [float(w) for w in words[i + 1:i + 3] if w[0].isdigit() or w[0] == "-"]
                    for i in range(at + 2, len(words)) if words[i].isalpha() or words[i] == "act_sq"}
        return found

    def calibrate(self):
        return {"critical": [{"name": "s", "data": "samples", "path": self.samples("s.jsonl")}]}

    def test_places(self):
        """Norms are divided, values and up by row, what reads them multiplied; the plugin sees just that."""
        job, output = self.job(self.model, quantize=self.quantizer(), write={"format": "dense"}, calibrate=self.calibrate())
        text = self.run_mock(job)
        job, plain = self.job(self.model, quantize=self.quantizer("none"), write={"format": "dense"}, calibrate=self.calibrate())
        before = self.said(self.run_mock(job), "prepare")
        after = self.said(text, "prepare")
        asked = self.said(text, "smooth")
        names = ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"]
        self.assertEqual(list(asked), ["model.layers.%d.%s" % (i, n) for i in range(3) for n in names])
        # Two query heads share a head of values: half the channels, twice the tokens.
        self.assertEqual([int(asked["model.layers.0." + n]["channels"][0]) for n in names], [HIDDEN, HIDDEN // 2, HIDDEN, WIDE])
        self.assertEqual([int(asked["model.layers.0." + n]["tokens"][0]) for n in names], [144, 288, 144, 144])
        for name, facts in asked.items():
            self.assertTrue(all(0 < e < math.inf for e in facts["errors"]), (name, facts))
            self.assertNotEqual(*facts["errors"])
        weights, source = worker_test.read_folder(output), worker_test.read_folder(self.model)
        first = power(0)
        for name in before:
            if name.startswith("model.layers.0."):
                # The first channel of every input was divided by its scale; the first row too, of values and up.
                self.assertTrue(math.isclose(after[name]["act_sq"][0] * first ** 2, before[name]["act_sq"][0], rel_tol=1e-6), name)
                by_row = first if name.endswith(("v_proj", "up_proj")) else 1
                self.assertTrue(math.isclose(after[name]["weight"][0] * by_row, before[name]["weight"][0] * first, rel_tol=1e-7), name)
            self.assertEqual(bool(after[name]["scores"][0]), name.endswith(("q_proj", "k_proj")), name)
        for layer in range(3):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                name = "model.layers.%d.%s.weight" % (layer, norm)
                got, want = worker_test.floats(weights[name]), worker_test.floats(source[name])
                self.assertEqual(list(got), [w / power(c) for c, w in enumerate(want)], name)
        self.assertEqual(weights["model.norm.weight"], source["model.norm.weight"])
        self.assert_tidy(output)

    def test_protected(self):
        """Protected values are those of the scaled weights; nothing depends on threads."""
        parts, digests = self.protecting(), set()
        for threads in ("1", "2", "5"):
            job, output = self.job(self.model, quantize=self.quantizer(), **parts)
            self.run_job(job, "--plugin-dir", self.plugins, "--threads", threads)
            digests.add(self.digest(output))
        self.assertEqual(len(digests), 1)
        self.inspect("verify", output)
        source, count = worker_test.read_folder(self.model), 0
        for module, places in worker_test.protected_positions(output).items():
            _, (_, cols), data = source[module + ".weight"]
            weight = array.array("f", data)
            for row, column, value in places:
                # Of o_proj two query heads of 16 columns have the values of one head.
                channel = column // 32 * 16 + column % 16 if module.endswith("o_proj") else column
                s = power(channel) / (power(row) if module.endswith(("v_proj", "up_proj")) else 1)
                # The mock puts five quarters in their place.
                want = array.array("f", [1.25 * s * weight[row * cols + column]]).tobytes()
                self.assertEqual(value, want, (module, row, column))
                count += 1
        self.assertGreater(count, 1000)

    def compare(self, model, quantize, bound):
        """Logits of a scaled output against those of the model, which differ by the rounding to 8 bits."""
        job, output = self.job(model, quantize=quantize, write={"format": "dense"}, calibrate=self.calibrate())
        self.run_mock(job)
        ids = [[(7 * i + 3 * k + 5) % 250 + 3 for i in range(20)] for k in range(3)]
        want, got = self.logits(worker_test.golden(model) if "/" not in model else model, "want", ids), self.logits(output, "got", ids)
        most = worst = 0
        for name in want:
            for a, b in zip(worker_test.floats(want[name]), worker_test.floats(got[name])):
                most, worst = max(most, abs(a)), max(worst, abs(a - b))
        self.assertLess(worst, bound * most, model)
        return output

    def test_families(self):
        """Scaled and written, each family still computes what it did, but for eight bits."""
        for name in FAMILIES:
            self.compare(name, self.quantizer("means"), 0.06)

    def test_kept(self):
        """What is not quantized stays exact: its scales are powers of two, and nothing is scaled for it alone."""
        quantize = dict(self.quantizer("means"), skip=["lm_head", "v_proj", "model.layers.1", "model.layers.2.mlp.down_proj"])
        output = self.compare(self.model, quantize, 0.06)
        weights, source = worker_test.read_folder(output), worker_test.read_folder(self.model)
        differ = 0
        for name, tensor in weights.items():
            if ".layers.1." in name:
                self.assertEqual(tensor, source[name], name)
            elif "v_proj" in name:
                for a, b in zip(worker_test.floats(tensor), worker_test.floats(source[name])):
                    differ += a != b
                    self.assertEqual(abs(math.frexp(a)[0]), abs(math.frexp(b)[0]), name)
        self.assertGreater(differ, 1000)
        name = "model.layers.2.mlp.up_proj.weight"  # nothing quantized reads what it makes
        down = "model.layers.2.mlp.down_proj.weight"
        self.assertEqual(weights[down], source[down])
        self.assertNotEqual(weights[name], source[name])

    def test_whole_modules(self):
        """Modules that are kept whole count as those that are not quantized."""
        parts = self.protecting(fraction=0.3, carrier="modules")
        parts["protect"]["unit"] = "module"
        job, output = self.job(self.model, quantize=self.quantizer("means"), **parts)
        self.run_mock(job)
        kept = self.load(output, "report.json")["protection"]["kept_modules"]
        self.assertGreater(len(kept), 0)
        weights, source = worker_test.read_folder(output), worker_test.read_folder(self.model)
        for name in kept:
            for a, b in zip(worker_test.floats(weights[name + ".weight"]), worker_test.floats(source[name + ".weight"])):
                self.assertEqual(abs(math.frexp(a)[0]), abs(math.frexp(b)[0]), name)
        self.inspect("verify", output)

    def test_resume(self):
        """The process ends in the middle of a layer: the next attempt ends with the same bytes, whatever it lost."""
        parts = self.protecting()
        file = self.path("stop")
        job, output = self.job(self.model, quantize=self.quantizer("means", file=file), **parts)
        self.run_mock(job)
        want = self.digest(output)
        for module, spoil, layer in (("model.layers.0.mlp.up_proj", None, 0), ("model.layers.2.self_attn.k_proj", None, 2),
                ("model.layers.2.self_attn.o_proj", "sequence-scales-1", 0), ("model.layers.1.mlp.down_proj", "cut", 0),
                ("model.layers.1.mlp.down_proj", "changed", 0)):
            self.write("stop", "")
            job, output = self.job(self.model, quantize=self.quantizer("means", file=file, stop=module), **parts)
            self.run_mock(job, status=99)
            scratch = os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".cwp-scratch")
            path = os.path.join(scratch, "sequence-scales-0")
            if spoil in ("cut", "changed"):
                with open(path, "r+b") as f:
                    if spoil == "cut":
                        f.truncate(100)
                    else:
                        f.seek(200)
                        byte = f.read(1)
                        f.seek(200)
                        f.write(bytes([byte[0] ^ 1]))
            elif spoil:
                os.unlink(os.path.join(scratch, spoil))
            seen = self.said(self.run_mock(job), "smooth")
            self.assertEqual(list(seen)[0], "model.layers.%d.self_attn.q_proj" % layer, (module, spoil))
            self.assertEqual(self.digest(output), want, (module, spoil))
            self.assert_tidy(output)

    def test_refused(self):
        for options, text in (({"fault": "no-scale"}, "plugin 'mock-quantizer': scale 0 of channel 0 is not positive and finite"),
                ({"fault": "smooth-fails"}, "plugin 'mock-quantizer': model.layers.0.self_attn.q_proj: the mock cannot smooth")):
            job, _ = self.job(self.model, quantize=self.quantizer(**options), calibrate=self.calibrate())
            done = self.worker("run", job, "--plugin-dir", self.plugins)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(text, done.stderr)
        job, output = self.job(self.model, quantize={"plugin": "not-smooth", "options": {"scales": "powers"}}, calibrate=self.calibrate())
        done = self.worker("run", job, "--plugin-dir", self.plugins)
        self.assertIn("plugin 'not-smooth': it wants to scale channels and has no smooth()", done.stderr)
        self.assert_nothing(output)

    def test_too_large(self):
        """A weight that F16 cannot hold any more once it is scaled."""
        def change(tensors, config):
            for name, (_, shape, data) in list(tensors.items()):
                values = array.array("f", data)
                if name == "model.layers.1.self_attn.k_proj.weight":
                    values[3] = 60000.0
                tensors[name] = ("F16", shape, b"".join(worker_test.struct.pack("<e", v) for v in values))
            config["torch_dtype"] = "float16"

        model = worker_test.make_model(self.path("half"), layers=2, hidden=HIDDEN, wide=WIDE, change=change)
        job, _ = self.job(model, quantize=self.quantizer(), calibrate=self.calibrate())
        done = self.worker("run", job, "--plugin-dir", self.plugins)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('tensor "model.layers.1.self_attn.k_proj.weight": element 3 is too large for the model\'s dtype', done.stderr)

    def test_bounds(self):
        """The peak stays below what the plan says."""
        parts = self.protecting()
        model = worker_test.make_model(self.path("larger"), layers=2, hidden=512, wide=1536)
        job, output = self.job(model, quantize=self.quantizer("means"), **parts)
        self.run_mock(job)
        report = self.load(output, "report.json")
        stage = [s for s in report["stages"] if s["name"] == "quantize"][0]
        if not worker_test.sanitized():
            self.assertLess(stage["peak_memory_bytes"], report["bounds"]["memory"])


class Static(worker_test.WorkerTest):
    """The real ones."""

    def test_plain(self):
        """What an evaluation compares with is the same algorithm without protection, its own scales in norms and all."""
        model = worker_test.make_model(self.path("model"), layers=2, hidden=HIDDEN, wide=WIDE)
        write_tokenizer(model, ["<s>", "</s>"], bos="<s>", eos="</s>")
        text = self.write("text.txt", "".join("This is line %d of a text.\n" % i for i in range(40)))
        evaluate = [{"name": "text", "benchmark": "perplexity", "path": text}]
        parts = self.protecting()
        for options in ({"algorithm": "awq", "bits": 4, "granularity": "group", "group": 32},
                {"algorithm": "smoothquant", "bits": 8, "activations": "dynamic"},
                {"algorithm": "smoothquant", "bits": 8, "activations": "static", "activation-scale": "percentile"}):
            found = {}
            for name, more in (("both", parts), ("plain", {"calibrate": parts["calibrate"]}), ("rtn", {"calibrate": parts["calibrate"]})):
                used = dict(options, algorithm="rtn") if name == "rtn" else options
                job, output = self.job(model, quantize={"plugin": "static", "options": used}, evaluate=evaluate, **more)
                self.run_job(job)
                row = self.load(output, "report.json")["evaluation"][0]
                found[name] = {k: row[k]["value"] for k in ("original", "quantized", "protected")}
            self.assertTrue(math.isclose(found["both"]["quantized"], found["plain"]["quantized"], rel_tol=1e-6), (options, found))
            self.assertEqual(found["plain"]["quantized"], found["plain"]["protected"])
            self.assertNotEqual(found["both"]["protected"], found["both"]["quantized"])
            self.assertNotEqual(found["rtn"]["quantized"], found["plain"]["quantized"])
            # Whatever is scaled, the model is still the same one.
            self.assertTrue(math.isclose(found["both"]["quantized"], found["both"]["original"], rel_tol=0.05), (options, found))


if __name__ == "__main__":
    worker_test.main()

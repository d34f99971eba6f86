#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs that write one GGUF file: the values are those of other formats, outputs verify and run, a file is a model again, and
what GGUF cannot hold is refused before anything is done."""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import copy_golden, floats, golden, read_folder, read_safetensors, write_safetensors

GGUF = {"format": "gguf"}


class Gguf(worker_test.WorkerTest):
    def dense(self, output):
        out = output + "-dense"
        self.inspect("dense", output, "--out", out)
        return {name: floats(tensor) for name, tensor in read_folder(out).items()}

    def assert_same(self, found, wanted):
        """Equal, but that the file keeps Gemma's norms as 1 + w in F32."""
        self.assertEqual(found.keys(), wanted.keys())
        for name, x in wanted.items():
            if "norm" in name:
                self.assertLess(max(abs(a - b) for a, b in zip(found[name], x)), 2.0 ** -22)
            else:
                self.assertTrue(found[name] == x, name)

    def run_parts(self, model="smollm2", **parts):
        job, output = self.job(model, **parts)
        self.run_job(job)
        self.inspect("verify", output)
        return output

    def test_values(self):
        """One file that holds what compressed-tensors would, and runs as such an output does."""
        for model, bits in (("smollm2", 4), ("gemma3", 8)):
            with self.subTest(model=model):
                quantize = {"plugin": "static", "options": {"bits": bits, "granularity": "group", "group": 32}}
                output = self.run_parts(model, quantize=quantize, write=GGUF)
                self.assertEqual(sorted(os.listdir(output)), ["README.md", "manifest.json", "model.gguf", "report.html", "report.json"])
                self.assert_tidy(output)
                other = self.run_parts(model, quantize=quantize)
                self.assert_same(self.dense(output), self.dense(other))
                ids = [[random.Random(5).randrange(3, 512) for _ in range(30)]]
                self.assertEqual(self.logits(output, "one", ids), self.logits(other, "two", ids))
                size = self.load(output, "report.json")["size"]
                self.assertEqual(size["bits_per_weight"], bits + 0.5)

    def test_carriers(self):
        """Protected modules in their own type, or protected weights among dequantized ones."""
        for carrier, protect in (("modules", {"unit": "module", "fraction": 0.3}), ("dense", {})):
            with self.subTest(carrier=carrier):
                keys = self.protecting(carrier=carrier)
                del keys["calibrate"]["utility"]
                keys["protect"].update(protect)
                output, other = self.run_parts(write=GGUF, **keys), self.run_parts(**keys)
                dense = self.dense(output)
                self.assertEqual(dense, self.dense(other))
                original = {name: floats(tensor) for name, tensor in read_folder(golden("smollm2")).items()}
                same = sum(dense[name] == original[name] for name in original if "_proj" in name)
                if carrier == "modules":
                    self.assertGreater(same, 0)
                else:
                    count = sum(self.load(output, "report.json")["protection"]["per_module"].values())
                    self.assertGreater(count, 0)
                self.assertLess(same, sum("_proj" in name for name in original))

    def test_again(self):
        """The same bytes with any number of threads; the file is a model, whose own metadata go on."""
        job, first = self.job(write=GGUF)
        self.run_job(job)
        job, second = self.job(write=GGUF)
        self.assertEqual(self.worker("run", job, "--threads", "1").returncode, 0)
        self.assertEqual(self.digest(first), self.digest(second))
        third = self.run_parts(os.path.join(first, "model.gguf"), write=GGUF)
        self.assertEqual(len(self.dense(third)), len(self.dense(first)))
        log = self.run_job(self.job(first, write=GGUF)[0], status=65)
        self.assertIn("is quantized already", log)

    def test_small_scales(self):
        """Scales below those of F16 take the next that it has, in the file and in what an evaluation compares with."""
        folder = self.path("small")
        copy_golden("smollm2", folder)
        t = read_safetensors(os.path.join(folder, "model.safetensors"))
        name = "model.layers.0.mlp.up_proj.weight"
        dtype, shape, data = t[name]
        x = floats((dtype, shape, data))
        for i in range(len(x)):
            x[i] *= 1e-6
        t[name] = (dtype, shape, x.tobytes())
        write_safetensors(os.path.join(folder, "model.safetensors"), t)
        found = self.dense(self.run_parts(folder, write=GGUF))[name]
        step = 2.0 ** -24
        self.assertTrue(all(v / step == int(v / step) for v in found))
        self.assertTrue(any(found))
        self.assertLess(max(abs(v - w) for v, w in zip(found, x)), 2 * step)

    def refused(self, words, model="smollm2", **parts):
        job, output = self.job(model, **{"write": GGUF, **parts})
        log = self.run_job(job, status=65)
        self.assertIn(words, log)
        self.assert_nothing(output)

    def test_refusals(self):
        def static(**options):
            return {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32, **options}}

        self.refused("modules", **self.protecting())
        self.refused("gguf cannot carry module", quantize={"plugin": "fp8"})
        self.refused("asymmetric", quantize=static(symmetric=False))
        self.refused("int3", quantize=static(bits=3))
        self.refused("skip the module", quantize=static(group=16))
        self.refused("activations int8 by token", quantize={"plugin": "static", "options": {"bits": 8, "granularity": "channel",
            "activations": "dynamic"}})
        folder = self.path("odd")
        copy_golden("smollm2", folder)
        self.write("odd/tokenizer.json", '{"model": {"type": "Unigram", "vocab": []}}')
        self.refused("gguf cannot say what tokenizer.json has as its model (Unigram)", model=folder)
        folder = self.path("cap")
        copy_golden("gemma2", folder)
        config = self.load(folder, "config.json")
        config["query_pre_attn_scalar"] = 100
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
            worker_test.json.dump(config, f)
        self.refused("the scale of attention", model=folder)


if __name__ == "__main__":
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Weights that are all zero by row, block and matrix, and weights that are no numbers, through every quantizer; and inputs whose
x x^T has no Cholesky factor. Standard library only."""
import array
import math
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import floats, read_folder

LAYER = "model.layers.0."
CALIBRATED = ("gptq", "awq", "smoothquant")


def options(**values):
    return {"plugin": "static", "options": {k.replace("_", "-"): v for k, v in values.items()}}


FOUR = {"bits": 4, "granularity": "group", "group": 32}
WAYS = {
    "channel": (options(bits=8), "compressed-tensors"),
    "tensor": (options(bits=8, granularity="tensor"), "compressed-tensors"),
    "group": (options(**FOUR), "compressed-tensors"),
    "asymmetric": (options(symmetric=False, **FOUR), "compressed-tensors"),
    "mse": (options(scale="mse", **FOUR), "compressed-tensors"),
    "percentile": (options(scale="percentile", **FOUR), "compressed-tensors"),
    "gptq": (options(algorithm="gptq", **FOUR), "compressed-tensors"),
    "awq": (options(algorithm="awq", **FOUR), "compressed-tensors"),
    "smoothquant": (options(algorithm="smoothquant", bits=8, activations="static", activation_symmetric=False), "compressed-tensors"),
    "gguf": (options(**FOUR), "gguf"),
    "int8": ({"plugin": "int8"}, "bitsandbytes"),
    "fp8": ({"plugin": "fp8"}, "compressed-tensors"),
    "block": ({"plugin": "fp8", "options": {"granularity": "block"}}, "compressed-tensors"),
}


class OddWeights(worker_test.WorkerTest):
    def changed(self, name, change):
        """A model whose weights were changed: change(module, row, column, value) -> value."""
        def all_of(tensors, config):
            for tensor, (dtype, shape, data) in list(tensors.items()):
                if tensor.startswith(LAYER) and len(shape) == 2:
                    values = array.array("f", data)
                    for i, v in enumerate(values):
                        values[i] = change(tensor[len(LAYER):-len(".weight")], i // shape[1], i % shape[1], v)
                    tensors[tensor] = (dtype, shape, values.tobytes())
        return worker_test.make_model(self.path(name), layers=1, hidden=128, wide=256, change=all_of)

    def parts(self, quantize, form):
        parts = {"quantize": quantize, "write": {"format": form}}
        if quantize.get("options", {}).get("algorithm") in CALIBRATED:
            parts["calibrate"] = {"critical": [{"name": "s", "data": "samples", "path": self.samples("s.jsonl")}]}
        return parts

    def test_zeros(self):
        """A row of zeros, a block of them, and a matrix: they stay zeros, and nothing else becomes odd."""
        def zero(module, row, column, value):
            gone = {"self_attn.q_proj": row == 5, "mlp.down_proj": column < 128, "mlp.up_proj": row >= 128,
                "self_attn.k_proj": True}.get(module, False)
            return 0.0 if gone else value

        model = self.changed("zeros", zero)
        source = read_folder(model)
        for way, (quantize, form) in WAYS.items():
            with self.subTest(way=way):
                job, output = self.job(model, **self.parts(quantize, form))
                self.run_job(job)
                self.inspect("verify", output)
                dense = output + "-dense"
                self.inspect("dense", output, "--out", dense)
                found = read_folder(dense)
                zeros = 0
                for name, (_, shape, _) in source.items():
                    if not name.startswith(LAYER) or len(shape) != 2:
                        continue
                    for was, now in zip(floats(source[name]), floats(found[name])):
                        self.assertTrue(math.isfinite(now), name)
                        if was == 0:
                            self.assertEqual(now, 0, name)
                            zeros += 1
                self.assertGreater(zeros, 128 * 128)

    def test_no_numbers(self):
        """Refused with the tensor and the place, whatever quantizes, and nothing is left."""
        for value in (math.inf, math.nan):
            model = self.changed("model-%s" % value, lambda module, row, column, v, value=value:
                value if (module, row, column) == ("mlp.down_proj", 70, 3) else v)
            for way, (quantize, form) in WAYS.items():
                with self.subTest(way=way, value=value):
                    job, output = self.job(model, **self.parts(quantize, form))
                    said = self.run_job(job, status=65)
                    self.assertIn("model.layers.0.mlp.down_proj", said)
                    # By row and column, or by number where all weights are looked at before.
                    self.assertRegex(said, r"element \[70, 3\] is %s|%s at element %d" % (value, value, 70 * 256 + 3))

    def test_too_large(self):
        """Scales that a format's F16 cannot hold: refused with the module and a format that can, in which the job runs."""
        model = self.changed("large", lambda module, row, column, v: 3e6 if (module, row, column) == ("mlp.up_proj", 9, 40) else v)
        for form, words in (("gptq", ["is too large for F16", "choose write.format compressed-tensors"]),
                ("gguf", ["the scale 428032 of row 9 is above what F16 holds (65504)", "choose compressed-tensors"])):
            job, output = self.job(model, **self.parts(options(**FOUR), form))
            said = self.run_job(job, status=65)
            for word in ["model.layers.0.mlp.up_proj"] + words:
                self.assertIn(word, said)
            self.assertFalse(os.path.exists(os.path.join(output, "manifest.json")))
        job, output = self.job(model, **self.parts(options(**FOUR), "compressed-tensors"))
        self.run_job(job)

    def test_singular(self):
        """Fewer tokens than columns and no damping: it is raised, and the report says which modules had it so."""
        model = self.changed("singular", lambda module, row, column, v: v)
        path = self.write("few.jsonl", '{"ids": [5, 6, 7], "weights": [0, 1, 1], "group": 0}\n')
        for damping, words in ((0, "with a damping of "), (0.01, None)):
            job, output = self.job(model, quantize=options(algorithm="gptq", damping=damping, **FOUR), calibrate={"critical": [
                {"name": "s", "data": "samples", "path": path}]})
            self.run_job(job)
            notes = self.load(output, "report.json")["protection"].get("quantized_otherwise") or []
            found = {n["module"]: n["note"] for n in notes}
            if words:
                self.assertIn(words, found["model.layers.0.mlp.down_proj"])
                self.assertIn("no Cholesky factor with less", found["model.layers.0.mlp.down_proj"])
            else:
                self.assertEqual(found, {})


if __name__ == "__main__":
    worker_test.main()

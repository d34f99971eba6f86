# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""bitsandbytes, GPTQ and fine-grained FP8: what is decoded from tensors made the slow way, inputs of LLM.int8(), and every
refusal."""
import json
import os
import tempfile
import unittest

import torch
from safetensors.torch import save_file

from cwp_loader import Checkpoint, CheckpointError
from cwp_loader.inputs import Outliers

ROWS, COLS = 16, 64
BNB = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq", "dynamic": {"-:^lm_head$": {}}}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [8, 32]}


def draw(low, high, *shape):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(sum(shape) + high))


def words(codes, bits):
    """Rows of codes without sign, the first in the lowest bits of a word."""
    rows = []
    for row in codes.tolist():
        row = [sum(code << bits * j for j, code in enumerate(row[i:i + 32 // bits])) for i in range(0, len(row), 32 // bits)]
        rows.append([word - (1 << 32) if word >= 1 << 31 else word for word in row])
    return torch.tensor(rows, dtype=torch.int32)


def bitsandbytes():
    codes, absmax = draw(-127, 128, ROWS, COLS), draw(1, 90, ROWS).float()
    return {"weight": codes.to(torch.int8), "SCB": absmax, "weight_format": torch.tensor(0, dtype=torch.uint8)}, \
        codes * (absmax / 127).unsqueeze(1)


def gptq(bits, group, version=1, zeros=None):
    groups = COLS // group
    codes, scales = draw(0, 2**bits, ROWS, COLS), draw(1, 90, ROWS, groups).to(torch.float16)
    zeros = torch.full((ROWS, groups), 2**(bits - 1)) if zeros is None else zeros
    order = torch.arange(COLS) // group
    stored = (zeros - int(version == 1)) % 2**bits
    tensors = {"qweight": words(codes, bits).t(), "scales": scales.t(), "qzeros": words(stored.t(), bits), "g_idx": order.to(torch.int32)}
    return tensors, (codes - zeros[:, order]) * scales.float()[:, order]


def fp8():
    codes, scales = draw(-40, 40, ROWS, COLS).float().to(torch.float8_e4m3fn), draw(1, 90, ROWS // 8, COLS // 32).float()
    return {"weight": codes, "weight_scale_inv": scales}, \
        codes.float() * scales.repeat_interleave(8, 0).repeat_interleave(32, 1)


class FormatsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cwp-loader-")
        self.addCleanup(self.folder.cleanup)

    def checkpoint(self, config, tensors):
        tensors = {f"m.{suffix}": tensor.contiguous() for suffix, tensor in tensors.items()}
        tensors["other.weight"] = torch.ones(2)
        save_file(tensors, os.path.join(self.folder.name, "model.safetensors"))
        with open(os.path.join(self.folder.name, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"quantization_config": config}, file)
        return Checkpoint(self.folder.name)

    def check(self, config, made):
        checkpoint = self.checkpoint(config, made[0])
        self.assertEqual(checkpoint.modules(), ["m"])
        self.assertEqual(checkpoint.others(), ["other.weight"])
        self.assertTrue(torch.equal(checkpoint.module("m").weight(torch.float32), made[1]))
        return checkpoint

    def refused(self, config, tensors, what):
        with self.assertRaisesRegex(CheckpointError, what):
            self.checkpoint(config, tensors).module("m")

    def test_values(self):
        self.check(BNB, bitsandbytes())
        self.check(FP8, fp8())
        for bits in (2, 4, 8):
            self.check(dict(GPTQ, bits=bits), gptq(bits, 32))
            self.check(dict(GPTQ, bits=bits, group_size=-1), gptq(bits, COLS))
            zeros = draw(0, 2**bits, ROWS, 2)
            self.check(dict(GPTQ, bits=bits), gptq(bits, 32, zeros=zeros))
            self.check(dict(GPTQ, bits=bits, checkpoint_format="gptq_v2"), gptq(bits, 32, 2, zeros))
        symmetric = self.check(GPTQ, gptq(4, 32)).module("m").codes
        self.assertIsNone(symmetric.zero)
        self.assertEqual(symmetric.codes.numel() * 4, ROWS * COLS // 2)  # stays packed

    def test_kept_modules(self):
        """A module that is whole has no marks: it is one of the others."""
        checkpoint = self.checkpoint(FP8, {"weight": torch.ones(4, 4)})
        self.assertEqual(checkpoint.modules(), [])
        self.assertEqual(sorted(checkpoint.others()), ["m.weight", "other.weight"])

    def test_inputs(self):
        x = draw(-300, 300, 2, 5, COLS) / 100
        x[0, 3, 7], x[1, 2, 9] = 6.5, -6.0
        y = Outliers(6.0)(x)
        for s in range(2):
            half = x[s].half().float()
            kept = [c for c in range(COLS) if half[:, c].abs().max() >= 6]
            self.assertEqual(kept, [[7], [9]][s])
            for t in range(5):
                top = max(abs(v) for v in half[t].tolist() if abs(v) < 6)
                want = (half[t] * (1 / torch.tensor(top) * 127)).round() * (torch.tensor(top) / 127)
                want[kept] = x[s, t, kept]
                self.assertTrue(torch.equal(y[s, t], want))
        self.assertTrue(torch.equal(Outliers(0)(torch.zeros(3, 4)), torch.zeros(3, 4)))
        self.assertFalse(torch.equal(Outliers(0)(x)[0, 3, 7], Outliers(6.0)(x)[0, 3, 8]))
        self.assertTrue(torch.equal(Outliers(6.0)(x[0, :1])[0], Outliers(6.0)(x[0, 0])))
        self.assertEqual(Outliers(6.0)(x.bfloat16()).dtype, torch.bfloat16)

    def test_config_refusals(self):
        for config, what in (
                ({"quant_method": "awq"}, "\"awq\" is not supported"),
                (dict(BNB, load_in_8bit=False), "load_in_8bit"), (dict(BNB, load_in_4bit=True), "load_in_8bit"),
                (dict(BNB, llm_int8_threshold=-1), "llm_int8_threshold -1"), (dict(BNB, llm_int8_threshold="6"), "llm_int8_threshold '6'"),
                (dict(GPTQ, bits=3), "bits 3"), (dict(GPTQ, group_size=0), "group_size 0"), (dict(GPTQ, group_size="all"), "group_size 'all'"),
                (dict(GPTQ, checkpoint_format="marlin"), "marlin"), (dict(GPTQ, dynamic={"+:x": {"bits": 8}}), "dynamic"),
                (dict(FP8, weight_block_size=None), "weight_block_size None"), (dict(FP8, weight_block_size=[0, 32]), "two sizes"),
                (dict(FP8, activation_scheme="static"), "dynamic"), (dict(FP8, scale_fmt="ue8m0"), "scale_fmt")):
            with self.subTest(config=config):
                self.refused(config, bitsandbytes()[0], what)

    def test_tensor_refusals(self):
        for config, tensors, suffix, other, what in (
                (BNB, bitsandbytes()[0], "weight", None, "no weight"),
                (BNB, bitsandbytes()[0], "weight_format", torch.tensor(2, dtype=torch.uint8), "by rows"),
                (BNB, bitsandbytes()[0], "SCB", torch.ones(ROWS + 1), "do not fit"),
                (BNB, bitsandbytes()[0], "SCB", torch.ones(ROWS, 1), "SCB"),
                (BNB, bitsandbytes()[0], "weight", torch.ones(ROWS, COLS), "float32"),
                (GPTQ, gptq(4, 32)[0], "scales", None, "no scales"),
                (GPTQ, gptq(4, 32)[0], "qweight", torch.ones(8, 16), "qweight"),
                (GPTQ, gptq(4, 32)[0], "scales", torch.ones(3, ROWS), "scales"),
                (GPTQ, gptq(4, 32)[0], "scales", torch.ones(2, ROWS, dtype=torch.int32), "scales are torch.int32"),
                (GPTQ, gptq(4, 32)[0], "qzeros", torch.ones(2, 3, dtype=torch.int32), "qzeros"),
                (GPTQ, gptq(4, 32)[0], "g_idx", torch.arange(COLS).flip(0) // 32, "not in order"),
                (dict(GPTQ, group_size=48), gptq(4, 32)[0], "g_idx", torch.arange(COLS) // 48, "groups of 48"),
                (FP8, fp8()[0], "weight", None, "no weight"),
                (FP8, fp8()[0], "weight", torch.ones(ROWS, COLS, dtype=torch.uint8), "is not FP8"),
                (FP8, fp8()[0], "weight", torch.ones(ROWS, 40).to(torch.float8_e4m3fn), "whole blocks"),
                (FP8, fp8()[0], "weight_scale_inv", torch.ones(2, 3), "do not fit blocks")):
            with self.subTest(method=config["quant_method"], suffix=suffix, what=what):
                tensors[suffix] = other
                self.refused(config, {k: t for k, t in tensors.items() if t is not None}, what)

    def test_compressed_refusals(self):
        packed = {"weight_packed": torch.zeros(4, 2, dtype=torch.int32), "weight_scale": torch.ones(4, 1),
                  "weight_shape": torch.tensor([4, 16])}
        for suffix, other, what in (("weight_packed", None, "no codes"), ("weight_shape", None, "weight_shape"),
                                    ("weight_shape", torch.tensor([4, 99]), "neither 4 nor 8"),
                                    ("weight_shape", torch.tensor([5, 16]), "no weight of \\[5, 16\\]"),
                                    ("weight_scale", torch.ones(4, 3), "do not fit a weight"),
                                    ("weight_zero_point", torch.zeros(3, 1, dtype=torch.int32), "zero points")):
            with self.subTest(suffix=suffix, what=what):
                tensors = dict(packed)
                tensors[suffix] = other
                self.refused({"quant_method": "compressed-tensors"}, {k: t for k, t in tensors.items() if t is not None}, what)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""loader/: the package's own tests; and outputs of every scheme and of several families, opened by it both ways, against
transformers with the dense checkpoint that the engine's own reader makes of the same output, and, where inputs are
quantized, against transformers with compressed-tensors. Exit 77 when something needed is absent."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from engines import find_python, skip

find_python()

HERE = os.path.dirname(os.path.abspath(__file__))
LOADER = os.path.join(os.environ.get("CWP_SRCDIR", os.path.join(HERE, "..", "..")), "loader")
sys.path.insert(0, LOADER)
sys.dont_write_bytecode = True

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from cwp_loader import CheckpointError, ProtectedLinear, load  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

SHARED = os.environ.get("CWP_SHARED", "")
TOOL = os.path.join(os.environ.get("CWP_BUILDDIR", "."), "tests", "interop", "write_outputs")
SCHEMES = ("w8a8", "w8a8-zero", "w8", "w8-zero", "w8-g32", "w4-g32", "w4", "w4-g32-zero", "w4-sizes", "mixed", "skip", "fp8",
           "fp8-weights", "w8a8-tensor", "w8a8-tensor-zero", "fp8-static", "fp8-block", "fp8-block-ragged")
# bitsandbytes, GPTQ and fine-grained FP8, with and without whole modules.
OTHERS = ("bitsandbytes", "bitsandbytes+skip", "gptq-4-g32", "gptq-8-g32", "gptq-4", "gptq-4-g32+skip", "fp8-blocks", "fp8-blocks+skip")
FAMILIES = ("smollm2", "qwen2", "gemma2", "phi3", "olmo2", "mixtral", "qwen2moe")
LIMIT = 1e-4  # on logits in f32; the same sums in another order


def run(model):
    ids = torch.randint(3, 500, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(ids).logits.float()


def stock(path, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="cwp-loader-")
        cls.addClassCleanup(cls.folder.cleanup)

    def output(self, model, scheme, carrier="overlay", fraction="0.05"):
        path = os.path.join(self.folder.name, f"{model}-{scheme}-{carrier}-{fraction}")
        if not os.path.exists(path):
            subprocess.run([TOOL, os.path.join(SHARED, "golden", model), path, scheme, carrier, fraction], check=True,
                           stdout=subprocess.DEVNULL)
        return path

    def assert_close(self, ours, theirs):
        self.assertLessEqual((ours - theirs).abs().max().item(), LIMIT)

    def compare(self, model, scheme):
        path = self.output(model, scheme)
        self.assertTrue(os.path.exists(os.path.join(path, "protected.safetensors")))
        expected = run(stock(path + "-dense"))
        self.assertGreater((expected - run(stock(os.path.join(SHARED, "golden", model)))).abs().max().item(), LIMIT)
        dense = load(path, dtype=torch.float32, dense=True)
        self.assertFalse(any(isinstance(m, ProtectedLinear) for m in dense.modules()))
        self.assert_close(run(dense), expected)
        small = load(path, dtype=torch.float32, activations=False)
        self.assertTrue(any(isinstance(m, ProtectedLinear) for m in small.modules()))
        self.assert_close(run(small), expected)
        for name, module in small.named_modules():
            if isinstance(module, ProtectedLinear):
                self.assertTrue(torch.equal(module.weight, dense.get_submodule(name).weight), name)

    def test_schemes(self):
        for scheme in SCHEMES:
            with self.subTest(scheme=scheme):
                self.compare("llama31", scheme)

    def test_other_formats(self):
        for scheme in OTHERS:
            with self.subTest(scheme=scheme):
                self.compare("llama31", scheme)
        for scheme in ("bitsandbytes", "gptq-4-g32", "fp8-blocks"):
            with self.subTest(scheme=scheme):
                self.compare("qwen2", scheme)

    def test_families(self):
        for model in FAMILIES:
            with self.subTest(model=model):
                self.compare(model, "w4-g16" if model == "qwen2moe" else "w4-g32")

    def test_head(self):
        self.compare("llama31", "head")

    def test_inputs(self):
        """Without protected weights our 8-bit inputs are those of compressed-tensors; with all weights protected they are
        not quantized at all."""
        for scheme in ("w8a8", "w8a8-zero", "fp8", "w8a8-static", "fp8-static", "fp8-block"):
            with self.subTest(scheme=scheme):
                path = self.output("llama31", scheme, "none", "0")
                ours, exact = run(load(path, dtype=torch.float32)), run(load(path, dtype=torch.float32, activations=False))
                theirs = run(stock(path))
                self.assertGreater((theirs - exact).abs().max().item(), 0)
                # A last bit before rounding may choose another code for an input.
                self.assertLessEqual((ours - theirs).pow(2).mean().sqrt().item(), 0.05 * (theirs - exact).pow(2).mean().sqrt().item())
        path = self.output("llama31", "fp8", "overlay", "1")
        self.assert_close(run(load(path, dtype=torch.float32)), run(stock(os.path.join(SHARED, "golden", "llama31"))))

    def test_protected_inputs(self):
        """Protected weights meet inputs as they are, here as in the engine."""
        for scheme in ("w8a8", "w8a8-static", "fp8-static", "fp8-block", "bitsandbytes", "fp8-blocks", "outliers"):
            with self.subTest(scheme=scheme):
                path = self.outliers() if scheme == "outliers" else self.output("llama31", scheme)
                ours, exact = run(load(path, dtype=torch.float32)), run(load(path, dtype=torch.float32, activations=False))
                theirs = self.inspect(path)
                self.assertLessEqual((ours - theirs).abs().amax(-1).median().item(),
                                     1e-3 * (ours - exact).abs().amax(-1).median().item())
                with_all = self.quantizing_all(path)
                self.assertGreater((with_all - theirs).abs().amax(-1).median().item(),
                                   1e-2 * (ours - exact).abs().amax(-1).median().item())

    def outliers(self):
        """An output of bitsandbytes with a threshold that some inputs reach."""
        path = self.output("llama31", "bitsandbytes", fraction="0.1")
        config = os.path.join(path, "config.json")
        without = run(load(path, dtype=torch.float32))
        with open(config, encoding="utf-8") as file:
            changed = json.load(file)
        changed["quantization_config"]["llm_int8_threshold"] = 1.5
        with open(config, "w", encoding="utf-8") as file:
            json.dump(changed, file)
        self.assertGreater((run(load(path, dtype=torch.float32)) - without).abs().max().item(), LIMIT)
        return path

    def inspect(self, path):
        """Logits of cwp-inspect."""
        ids = torch.randint(3, 500, (2, 24), generator=torch.Generator().manual_seed(1))
        out = path + "-logits.safetensors"
        subprocess.run([os.path.join(os.environ.get("CWP_BUILDDIR", "."), "cwp-inspect"), "logits", path, "--out", out], check=True,
                       stdout=subprocess.DEVNULL, input="".join(json.dumps({"ids": row.tolist()}) + "\n" for row in ids).encode())
        tensors = load_file(out)
        return torch.stack([tensors[f"logits.{i}"] for i in range(len(ids))])

    def quantizing_all(self, path):
        """Logits where protected weights meet quantized inputs too: what must not be."""
        model = load(path, dtype=torch.float32)
        for module in model.modules():
            if isinstance(module, ProtectedLinear):
                weight = module.weight
                module.forward = lambda x, m=module, w=weight: torch.nn.functional.linear(m.activation(x), w, m.bias)
        return run(model)

    def test_half(self):
        path = self.output("llama31", "w4-g32")
        model = load(path, dtype=torch.bfloat16)
        self.assertEqual({p.dtype for p in model.parameters()}, {torch.bfloat16})
        expected = run(stock(path + "-dense", torch.bfloat16))
        self.assert_close(run(model), expected)

    def test_size(self):
        """What a small model holds is what its files hold, but for positions of 4 bytes."""
        model = load(self.output("llama31", "w4-g32"), dtype=torch.float32)
        for module in model.modules():
            if isinstance(module, ProtectedLinear):
                held = sum(b.numel() * b.element_size() for b in module.buffers())
                weights = module.in_features * module.out_features
                self.assertLess(held, weights * (4 / 8 + 4 / 32) + 8 * 0.07 * weights + 64)

    def test_damage(self):
        path = self.output("smollm2", "w4-g32")
        protected = os.path.join(path, "protected.safetensors")
        with open(protected, "rb") as file:
            whole = file.read()
        try:
            with open(protected, "wb") as file:
                file.write(whole.replace(b'"cwp.overlay":"1"', b'"cwp.overlay":"9"'))
            with self.assertRaisesRegex(CheckpointError, "version"):
                load(path)
        finally:
            with open(protected, "wb") as file:
                file.write(whole)
        with self.assertRaisesRegex(CheckpointError, "config.json"):
            load(self.folder.name)


def main():
    if not os.path.isdir(os.path.join(SHARED, "golden", "llama31")):
        skip("no reference models below CWP_SHARED")
    if not os.access(TOOL, os.X_OK):
        skip(f"{TOOL} is not built")
    suite = unittest.defaultTestLoader.discover(os.path.join(LOADER, "tests"))
    suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(Outputs))
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())

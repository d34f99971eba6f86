#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Whole jobs whose scales are shared by a matrix or a block, and whose inputs have one calibrated scale: every code and
scale of the files against numpy and PyTorch, protected weights left out; scales of inputs against what PyTorch sees in a
model whose earlier layers are the output's. Exit 77 when something needed is absent."""
import json
import os
import random
import subprocess
import sys
import tempfile

from engines import find_python, skip

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(os.environ.get("CWP_SHARED", ""), "golden", "llama31")

if not os.path.exists(os.path.join(MODEL, "config.json")):
    skip("no reference models below CWP_SHARED (%s)" % (os.environ.get("CWP_SHARED") or "not set"))
find_python()

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

sys.path.insert(0, os.path.join(HERE, "..", "system"))
from worker_test import protected_positions  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

TOP = {"static": 127.0, "fp8": 448.0}


def bf16(x):
    return torch.as_tensor(x, dtype=torch.float32).to(torch.bfloat16).to(torch.float32)


def stock(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


class Job:
    """A job's output: its tensors, which weights are protected, and the weights before."""

    def __init__(self, folder, number, ids, options, plugin):
        self.plugin, self.ids = plugin, ids
        self.output = os.path.join(folder, "out%d" % number)
        samples = os.path.join(folder, "samples.jsonl")
        path = os.path.join(folder, "job%d.yaml" % number)
        with open(samples, "w", encoding="utf-8") as f:
            for row in ids:
                f.write(json.dumps({"ids": row, "weights": [0] + [0.05] * (len(row) - 1)}) + "\n")
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"model": MODEL, "output": self.output, "quantize": {"plugin": plugin, "options": options},
                       "calibrate": {"critical": [{"name": "s", "data": "samples", "path": samples}]},
                       "score": {"plugin": "fisher"}, "protect": {"fraction": 0.05, "carrier": "overlay"}}, f)
        done = subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", path], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.tensors = {}
        for name in os.listdir(self.output):
            if name.startswith("model") and name.endswith(".safetensors"):
                self.tensors.update(load_file(os.path.join(self.output, name)))
        self.original = load_file(os.path.join(MODEL, "model.safetensors"))
        self.kept = protected_positions(self.output)

    def modules(self):
        return sorted(n[:-len(".weight_scale")] for n in self.tensors if n.endswith(".weight_scale"))

    def others(self, module):
        """The weight with its protected places at 0."""
        weight = self.original[module + ".weight"].float().clone()
        for row, col, _ in self.kept.get(module, ()):
            weight[row, col] = 0
        return weight

    def check_codes(self, block, symmetric):
        """Scales of each block of rows and columns (None: the whole), then all codes under the stored scale."""
        for module in self.modules():
            weight, rest = self.original[module + ".weight"].float(), self.others(module)
            rows, cols = weight.shape
            high, wide = block or (rows, cols)
            scale = self.tensors[module + ".weight_scale"].reshape((rows + high - 1) // high, (cols + wide - 1) // wide)
            for i in range(0, rows, high):
                for k in range(0, cols, wide):
                    part = rest[i:i + high, k:k + wide]
                    if symmetric:
                        want = bf16(part.abs().max() / TOP[self.plugin])
                    else:
                        want = bf16((part.max().clamp(min=0).double() - part.min().clamp(max=0).double()) / 255)
                    got = scale[i // high, k // wide]
                    assert got == want, (module, i, k, got, want)
            spread = scale.repeat_interleave(high, 0)[:rows].repeat_interleave(wide, 1)[:, :cols]
            codes = self.tensors[module + ".weight"]
            if self.plugin == "fp8":
                want = (weight / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
                assert torch.equal(codes.view(torch.uint8), want.view(torch.uint8)), module
            else:
                zero = 0 if symmetric else self.tensors[module + ".weight_zero_point"].float()
                assert torch.equal(codes.float(), ((weight / spread).round() + zero).clamp(-128, 127)), module

    def inputs(self):
        """module -> all its inputs in calibration: layer l's in a model whose layers below l are the output's."""
        dense = self.output + "-dense"
        subprocess.run([os.path.join(BUILD, "cwp-inspect"), "dense", self.output, "--out", dense], check=True)
        model, changed = stock(MODEL), stock(dense).state_dict()
        seen = {}
        for layer in range(len(model.model.layers)):
            hooks = []
            for name, module in model.named_modules():
                if name.startswith(f"model.layers.{layer}.") and isinstance(module, torch.nn.Linear):
                    hooks.append(module.register_forward_pre_hook(
                        lambda m, given, name=name: seen.__setitem__(name, given[0].detach().abs().reshape(-1))))
            with torch.no_grad():
                model(torch.tensor(self.ids))
            for hook in hooks:
                hook.remove()
            own = {n: v for n, v in changed.items() if n.startswith(f"model.layers.{layer}.")}
            model.load_state_dict(own, strict=False)
        return seen

    def check_inputs(self, method):
        exact = 0
        scales = {m: self.tensors[m + ".input_scale"] for m in self.modules()}
        for module, x in self.inputs().items():
            assert scales[module].shape == (1,), module
            got = scales[module].item()
            assert got == bf16(got).item(), module
            if method == "minmax":
                want = bf16(x.max() / TOP[self.plugin]).item()
                exact += got == want
                assert abs(got - want) <= want / 128, (module, got, want)
            elif method == "percentile":
                want = x.sort().values[-(-len(x) * 99 // 100) - 1].item() / TOP[self.plugin]
                exact += 1
                assert want * (1 - 1 / 256) <= got <= want * (1 + 1 / 32), (module, got, want)
            else:
                errors = [self.error(x, bf16(x.max() * (1 - step / 100) / TOP[self.plugin])) for step in range(81)]
                exact += self.error(x, got) < errors[0] or min(errors) == errors[0]
                assert self.error(x, got) <= 1.02 * min(errors), (module, self.error(x, got), min(errors))
        for layer in range(2):
            parts = [f"model.layers.{layer}.self_attn.{p}_proj" for p in "qkv"]
            assert len({scales[p].item() for p in parts}) == 1, parts
        assert len(scales) == 14 and exact >= 13, exact

    def error(self, x, scale):
        if self.plugin == "fp8":
            q = (x / scale).clamp(max=448).to(torch.float8_e4m3fn).float()
        else:
            q = (x / scale).round().clamp(max=127)
        return (q * scale - x).double().pow(2).sum().item()


# plugin, options, rows and columns of a scale, symmetric, method of the inputs' scale
CASES = [
    ("static", {"granularity": "tensor"}, None, True, None),
    ("static", {"granularity": "tensor", "symmetric": False, "activations": "dynamic"}, None, False, None),
    ("static", {"granularity": "tensor", "activations": "static"}, None, True, "minmax"),
    ("static", {"activations": "static", "activation-scale": "percentile", "activation-percentile": 99}, "channel", True, "percentile"),
    ("static", {"activations": "static", "activation-scale": "mse"}, "channel", True, "mse"),
    ("fp8", {"granularity": "tensor", "activations": "static"}, None, True, "minmax"),
    ("fp8", {"granularity": "tensor", "activations": "static", "activation-scale": "mse"}, None, True, "mse"),
    ("fp8", {"granularity": "block", "activations": "none"}, (128, 128), True, None),
]


def main():
    rng = random.Random(5)
    ids = [[rng.randrange(3, 500) for _ in range(20)] for _ in range(8)]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cwp-scales-") as folder:
        for number, (plugin, options, block, symmetric, method) in enumerate(CASES):
            name = plugin + " " + " ".join(f"{k}={v}" for k, v in options.items())
            try:
                job = Job(folder, number, ids, options, plugin)
                assert len(job.kept) > 0
                width = {m: job.original[m + ".weight"].shape[1] for m in job.modules()}
                if block == "channel":
                    for m in job.modules():
                        assert job.tensors[m + ".weight_scale"].shape[1] == 1 and width[m] > 1
                else:
                    job.check_codes(block, symmetric)
                if method:
                    job.check_inputs(method)
                print("ok  ", name, flush=True)
            except AssertionError as e:
                failed += 1
                print("FAIL", name, str(e)[:2000], flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

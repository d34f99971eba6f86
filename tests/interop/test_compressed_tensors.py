#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Outputs of every scheme are loaded by transformers with compressed-tensors and compared with the dense checkpoint that
the engine's own reader makes of the same output: weights and logits, float32 on the CPU. Where inputs are quantized, what
the library makes of each module's input is compared with what our backend makes of it, bit by bit, and the logits of the
whole with those of cwp-inspect. Exit 77 when something needed is absent."""
import json
import os
import subprocess
import sys
import tempfile

from engines import GOLDEN, check, failures, find_python, load_model, need_golden, quiet, run_model, skip

LIMIT = 1e-4  # on logits and weights; 0 is what is seen
# Quantized inputs magnify the last bit of a sum, so logits of the whole model are compared by their median over tokens, as
# a part of what quantizing the inputs changes.
PART = 1e-3  # 3e-5 is what is seen, 0 with fixed scales
KINDS = {("int", "token"): 1, ("float", "token"): 2, ("int", "tensor"): 3, ("float", "tensor"): 4, ("float", "group"): 5}

need_golden("llama31")
find_python()

import torch  # noqa: E402
from compressed_tensors.quantization import disable_quantization  # noqa: E402
from compressed_tensors.quantization.lifecycle.forward import forward_quantize  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

quiet(1)


class Backend:
    """Our CPU backend's operation for inputs, in a process of its own."""

    def __init__(self, tool):
        self.process = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, x, args, scale, zero):
        rows, cols = x.numel() // x.shape[-1], x.shape[-1]
        kind = KINDS[getattr(args.type, "value", args.type), getattr(args.strategy, "value", args.strategy)]
        line = f"{kind} {args.group_size if kind == 5 else 0} {zero} {scale!r} 0 {rows} {cols}\n"
        self.process.stdin.write(line.encode() + x.contiguous().numpy().tobytes())
        self.process.stdin.flush()
        data = self.process.stdout.read(4 * x.numel())
        return torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(x.shape)


def compare_inputs(model, ids, backend):
    """The inputs of all quantized modules, as the library and as our backend quantizes them. Returns their number."""
    seen = []

    def look(module, given):
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is None or scheme.input_activations is None:
            return
        args, x = scheme.input_activations, given[0].detach().float()
        scale = 0.0 if args.dynamic else module.input_scale.float().item()
        zero = 0 if args.symmetric else int(module.input_zero_point)
        if not args.symmetric and zero == 0:
            raise AssertionError("the zero point of inputs was not loaded")
        want, got = forward_quantize(module, x, "input", args), backend(x, args, scale, zero)
        if not torch.equal(want, got):
            raise AssertionError(f"{(want != got).sum().item()} of {x.numel()} inputs differ")
        if torch.equal(want, x):
            raise AssertionError("inputs are not quantized")
        seen.append(1)

    hooks = [m.register_forward_pre_hook(look) for m in model.modules()]
    run_model(model, ids)
    for hook in hooks:
        hook.remove()
    return len(seen)


def our_logits(output, ids, activations):
    path = output + "-logits.safetensors"
    subprocess.run([os.path.join(os.environ.get("CWP_BUILDDIR", "."), "cwp-inspect"), "logits", output, "--out",
                    path, "--activations", activations], check=True, stdout=subprocess.DEVNULL,
                   input="".join(json.dumps({"ids": row.tolist()}) + "\n" for row in ids).encode())
    tensors = load_file(path)
    return torch.stack([tensors[f"logits.{i}"] for i in range(len(ids))])


def compare_whole(output, ids, quantized, exact):
    """The median over tokens of the difference of logits, as a part of what quantizing inputs changes."""
    ours = our_logits(output, ids, "on")
    if (our_logits(output, ids, "off") - exact).abs().max().item() > 1e-3:
        raise AssertionError("without activations the logits differ")
    change = (quantized - exact).abs().amax(-1).median().item()
    return (ours - quantized).abs().amax(-1).median().item() / change


def compare(original, output, activations, backend):
    """Largest difference of weights and of logits between an output and its dense twin, a line about inputs."""
    note = ""
    ids = torch.randint(3, 500, (2, 40), generator=torch.Generator().manual_seed(1))
    model, twin = load_model(output), load_model(output + "-dense")
    expected = run_model(twin, ids)
    quantized = run_model(model, ids)  # the first pass decompresses
    if (run_model(load_model(original), ids) - expected).abs().max().item() <= LIMIT:
        raise AssertionError("the output is not quantized")
    if activations:
        # Quantized activations magnify rounding errors, so the weights are compared without them; that they act is
        # seen in a difference.
        if (quantized - expected).abs().max().item() == 0:
            raise AssertionError("activations are not quantized")
        modules, part = compare_inputs(model, ids, backend), compare_whole(output, ids, quantized, expected)
        note = f" inputs of {modules} modules equal, whole {part:.2g}"
        if modules == 0 or part > PART:
            raise AssertionError(f"logits with quantized inputs differ:{note}")
        model.apply(disable_quantization)
        quantized = run_model(model, ids)
    weights = 0.0
    theirs = dict(model.named_parameters())
    for name, parameter in twin.named_parameters():
        weights = max(weights, (theirs[name].float() - parameter).abs().max().item())
    return weights, (quantized - expected).abs().max().item(), note


def main():
    tool = os.path.join(os.environ.get("CWP_BUILDDIR", "."), "tests", "interop", "write_outputs")
    if not os.access(tool, os.X_OK):
        skip(f"{tool} is not built")
    cases = [(m, s, "none", "0") for m in ("llama31", "smollm2", "llama31-bf16") for s in (
        "w8a8", "w8a8-zero", "w8", "w8-zero", "w8-g32", "w4-g32", "w4", "w4-g32-zero", "w4-sizes", "mixed", "skip",
        "fp8", "fp8-weights", "w8a8-static", "w8a8-static-zero", "w8a8-tensor", "w8a8-tensor-zero", "w8-tensor", "fp8-static", "fp8-tensor",
        "fp8-block", "fp8-block-ragged")]
    cases += [("llama31", "head", "none", "0"), ("llama31", "w4-g32", "dense", "0.05")]
    # Experts, as far as they load: packed or FP8, where kept by whole layers. Their inputs are not
    # compared, as transformers has no Linear there.
    cases += [(m, s, "none", "0") for m, s in (("mixtral", "w8-g16"), ("qwen2moe", "w4-g16"), ("mixtral", "fp8-weights+layer"),
        ("qwen2moe", "fp8-weights"))]
    only = sys.argv[1:]
    backend = Backend(os.path.join(os.path.dirname(tool), "quantize_inputs"))
    with tempfile.TemporaryDirectory(prefix="cwp-interop-") as folder:
        models = {m: os.path.join(GOLDEN, m) for m in ("llama31", "smollm2", "mixtral", "qwen2moe")}
        models["llama31-bf16"] = os.path.join(folder, "bf16")
        load_model(models["llama31"]).to(torch.bfloat16).save_pretrained(models["llama31-bf16"])
        for model, scheme, carrier, fraction in cases:
            if only and scheme not in only:
                continue
            output = os.path.join(folder, f"{model}-{scheme}-{carrier}")
            subprocess.run([tool, models[model], output, scheme, carrier, fraction], check=True,
                           stdout=subprocess.DEVNULL)
            with open(os.path.join(output, "config.json"), encoding="utf-8") as file:
                quantization = json.load(file).get("quantization_config", {})
            activations = any(g["input_activations"] for g in quantization.get("config_groups", {}).values())
            try:
                weights, logits, note = compare(models[model], output, activations, backend)
            except Exception as e:  # every failure to load is a result of this test
                weights, logits, note = float("nan"), float("nan"), ""
                print(f"{type(e).__name__}: {str(e)[:2000]}")
            good = weights <= LIMIT and logits <= LIMIT
            check(good, f"{model:12} {scheme:12} {carrier:6} weights {weights:.3g} logits {logits:.3g}{note}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

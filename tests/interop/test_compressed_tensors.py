#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Outputs of every scheme are loaded by transformers with compressed-tensors and compared with the dense checkpoint that
the engine's own reader makes of the same output: weights and logits, float32 on the CPU. Exit 77 when something needed
is absent."""
import json
import os
import subprocess
import sys
import tempfile

from engines import find_python, skip

LIMIT = 1e-4  # on logits and weights; 0 is what is seen

find_python()

import torch  # noqa: E402
import transformers  # noqa: E402
from compressed_tensors.quantization import disable_quantization  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)


def load(path):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(kind):
            raise AssertionError(f"{path}: {kind}: {info[kind]}")
    return model.eval()


def run(model, ids):
    with torch.no_grad():
        return model(ids).logits


def compare(original, output, activations):
    """Largest difference of weights and of logits between an output and its dense twin."""
    ids = torch.randint(3, 500, (2, 40), generator=torch.Generator().manual_seed(1))
    model, twin = load(output), load(output + "-dense")
    expected = run(twin, ids)
    quantized = run(model, ids)  # the first pass decompresses
    if (run(load(original), ids) - expected).abs().max().item() <= LIMIT:
        raise AssertionError("the output is not quantized")
    if activations:
        # Quantized activations magnify rounding errors, so the weights are compared without them; that they act is
        # seen in a difference.
        if (quantized - expected).abs().max().item() == 0:
            raise AssertionError("activations are not quantized")
        model.apply(disable_quantization)
        quantized = run(model, ids)
    weights = 0.0
    theirs = dict(model.named_parameters())
    for name, parameter in twin.named_parameters():
        weights = max(weights, (theirs[name].float() - parameter).abs().max().item())
    return weights, (quantized - expected).abs().max().item()


def main():
    shared = os.environ.get("CWP_SHARED", "")
    tool = os.path.join(os.environ.get("CWP_BUILDDIR", "."), "tests", "interop", "write_outputs")
    if not os.path.isdir(os.path.join(shared, "golden", "llama31")):
        skip("no reference models below CWP_SHARED")
    if not os.access(tool, os.X_OK):
        skip(f"{tool} is not built")
    cases = [(m, s, "none", "0") for m in ("llama31", "smollm2", "llama31-bf16") for s in (
        "w8a8", "w8a8-zero", "w8", "w8-zero", "w8-g32", "w4-g32", "w4", "w4-g32-zero", "w4-sizes", "mixed", "skip",
        "fp8", "fp8-weights")]
    cases += [("llama31", "head", "none", "0"), ("llama31", "w4-g32", "dense", "0.05")]
    only = sys.argv[1:]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cwp-interop-") as folder:
        models = {m: os.path.join(shared, "golden", m) for m in ("llama31", "smollm2")}
        models["llama31-bf16"] = os.path.join(folder, "bf16")
        load(models["llama31"]).to(torch.bfloat16).save_pretrained(models["llama31-bf16"])
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
                weights, logits = compare(models[model], output, activations)
            except Exception as e:  # every failure to load is a result of this test
                weights, logits = float("nan"), float("nan")
                print(f"{type(e).__name__}: {str(e)[:2000]}")
            good = weights <= LIMIT and logits <= LIMIT
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {model:12} {scheme:12} {carrier:6} weights {weights:.3g} logits {logits:.3g}",
                  flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

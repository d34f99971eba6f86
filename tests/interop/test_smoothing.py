#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Outputs whose channels were scaled, as AWQ and SmoothQuant do, are loaded by transformers with compressed-tensors: logits equal
those of cwp-inspect, and are nearer to the original's than a forgotten scale would leave them. Exit 77 when something needed is
absent."""
import json
import os
import random
import subprocess
import sys
import tempfile

from engines import GOLDEN, check, failures, find_python, load_model, need_golden, quiet, run_model

LIMIT = 1e-5  # of the largest logit, inputs not quantized; 8e-7 is what is seen

need_golden("llama31")
find_python()

import torch  # noqa: E402
from compressed_tensors.quantization import disable_quantization  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

quiet(1)

BUILD = os.environ.get("CWP_BUILDDIR", ".")
AWQ = {"algorithm": "awq", "bits": 4, "granularity": "group", "group": 32}
SMOOTHQUANT = {"algorithm": "smoothquant", "bits": 8, "activations": "dynamic"}
# A norm of 1 + w, biases, fused matrices, grouped queries, no norm before a block, experts behind a router.
CASES = [("llama31", AWQ), ("qwen2", AWQ), ("gemma2", AWQ), ("phi3", AWQ), ("olmo2", AWQ), ("mixtral", AWQ),
    ("llama31", SMOOTHQUANT), ("qwen2", SMOOTHQUANT), ("gemma3", SMOOTHQUANT)]
# Inputs with one scale and a zero point, both calibrated.
STATIC = {"bits": 8, "activations": "static", "activation-symmetric": False}
CASES += [("llama31", dict(STATIC, algorithm="rtn")), ("qwen2", dict(STATIC, algorithm="smoothquant", **{"activation-scale": "mse"}))]


def our_logits(output, ids, activations):
    path = output + "-logits.safetensors"
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", output, "--out", path, "--activations", activations], check=True,
        stdout=subprocess.DEVNULL, input="".join(json.dumps({"ids": row.tolist()}) + "\n" for row in ids).encode())
    tensors = load_file(path)
    return torch.stack([tensors[f"logits.{i}"] for i in range(len(ids))])


def case(folder, model, options):
    """Largest difference from our logits, and the output's distance from the original's, as parts of the largest logit."""
    rng = random.Random(5)
    output = os.path.join(folder, "-".join([model, options["algorithm"], options.get("activations", "none")]))
    samples, job = output + ".jsonl", output + ".yaml"
    with open(samples, "w", encoding="utf-8") as f:
        for _ in range(8):
            ids = [rng.randrange(3, 250) for _ in range(32)]
            f.write(json.dumps({"ids": ids, "weights": [0] + [1 / 31] * 31}) + "\n")
    with open(job, "w", encoding="utf-8") as f:
        json.dump({"model": os.path.join(GOLDEN, model), "output": output, "quantize": {"plugin": "static", "options": options},
            "calibrate": {"critical": [{"name": "s", "data": "samples", "path": samples}]}}, f)
    subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", job], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ids = torch.randint(3, 250, (2, 40), generator=torch.Generator().manual_seed(1))
    theirs = load_model(output)
    with_inputs = run_model(theirs, ids)  # the first pass decompresses
    theirs.apply(disable_quantization)
    logits = run_model(theirs, ids)
    zeros = {int(m.input_zero_point) for m in theirs.modules() if getattr(m, "input_zero_point", None) is not None}
    if ("activation-symmetric" in options) != (len(zeros) > 1):
        raise AssertionError(f"zero points of inputs: {zeros}")
    if ("activations" in options) != ((with_inputs - logits).abs().max().item() > 0):
        raise AssertionError("inputs are not quantized as asked")
    original = run_model(load_model(os.path.join(GOLDEN, model)), ids)
    most = original.abs().max().item()
    return (our_logits(output, ids, "off") - logits).abs().max().item() / most, (logits - original).abs().max().item() / most


def main():
    with tempfile.TemporaryDirectory(prefix="cwp-interop-") as folder:
        for model, options in CASES:
            try:
                ours, original = case(folder, model, options)
            except Exception as e:  # every failure to load is a result of this test
                ours = original = float("nan")
                print(f"{type(e).__name__}: {str(e)[:2000]}")
            good = ours <= LIMIT and 0 < original <= (0.05 if options["bits"] == 8 else 0.5)
            check(good, f"{model:10} {options['algorithm']:12} ours {ours:.3g} original {original:.3g}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

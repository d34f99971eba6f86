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

from engines import find_python, skip

LIMIT = 1e-5  # of the largest logit, inputs not quantized; 8e-7 is what is seen

find_python()

import torch  # noqa: E402
import transformers  # noqa: E402
from compressed_tensors.quantization import disable_quantization  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

BUILD = os.environ.get("CWP_BUILDDIR", ".")
AWQ = {"algorithm": "awq", "bits": 4, "granularity": "group", "group": 32}
SMOOTHQUANT = {"algorithm": "smoothquant", "bits": 8, "activations": "dynamic"}
# A norm of 1 + w, biases, fused matrices, grouped queries, no norm before a block, experts behind a router.
CASES = [("llama31", AWQ), ("qwen2", AWQ), ("gemma2", AWQ), ("phi3", AWQ), ("olmo2", AWQ), ("mixtral", AWQ),
    ("llama31", SMOOTHQUANT), ("qwen2", SMOOTHQUANT), ("gemma3", SMOOTHQUANT)]


def load(path):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(kind):
            raise AssertionError(f"{path}: {kind}: {info[kind]}")
    return model.eval()


def run(model, ids):
    with torch.no_grad():
        return model(ids).logits


def our_logits(output, ids, activations):
    path = output + "-logits.safetensors"
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", output, "--out", path, "--activations", activations], check=True,
        stdout=subprocess.DEVNULL, input="".join(json.dumps({"ids": row.tolist()}) + "\n" for row in ids).encode())
    tensors = load_file(path)
    return torch.stack([tensors[f"logits.{i}"] for i in range(len(ids))])


def case(folder, model, options):
    """Largest difference from our logits, and the output's distance from the original's, as parts of the largest logit."""
    rng = random.Random(5)
    output = os.path.join(folder, f"{model}-{options['algorithm']}")
    samples, job = output + ".jsonl", output + ".yaml"
    with open(samples, "w", encoding="utf-8") as f:
        for _ in range(8):
            ids = [rng.randrange(3, 250) for _ in range(32)]
            f.write(json.dumps({"ids": ids, "weights": [0] + [1 / 31] * 31}) + "\n")
    with open(job, "w", encoding="utf-8") as f:
        json.dump({"model": model_path(model), "output": output, "quantize": {"plugin": "static", "options": options},
            "calibrate": {"critical": [{"name": "s", "data": "samples", "path": samples}]}}, f)
    subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", job], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ids = torch.randint(3, 250, (2, 40), generator=torch.Generator().manual_seed(1))
    theirs = load(output)
    with_inputs = run(theirs, ids)  # the first pass decompresses
    theirs.apply(disable_quantization)
    logits = run(theirs, ids)
    if ("activations" in options) != ((with_inputs - logits).abs().max().item() > 0):
        raise AssertionError("inputs are not quantized as asked")
    original = run(load(model_path(model)), ids)
    most = original.abs().max().item()
    return (our_logits(output, ids, "off") - logits).abs().max().item() / most, (logits - original).abs().max().item() / most


def model_path(name):
    return os.path.join(os.environ.get("CWP_SHARED", ""), "golden", name)


def main():
    if not os.path.isdir(model_path("llama31")):
        skip("no reference models below CWP_SHARED")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cwp-interop-") as folder:
        for model, options in CASES:
            try:
                ours, original = case(folder, model, options)
            except Exception as e:  # every failure to load is a result of this test
                ours = original = float("nan")
                print(f"{type(e).__name__}: {str(e)[:2000]}")
            good = ours <= LIMIT and 0 < original <= (0.05 if options is SMOOTHQUANT else 0.5)
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {model:10} {options['algorithm']:12} ours {ours:.3g} original {original:.3g}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

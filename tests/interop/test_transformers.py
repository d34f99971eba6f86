#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Outputs of whole jobs in transformers with compressed-tensors, float32 on the CPU: the plain int4 form of the real
model, every scheme of the small ones, and dense forms of protected outputs give the logits that cwp-inspect gives; and
cwp-inspect's log-likelihoods of the real model are the reference's. Exit 77 when something needed is absent."""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

from engines import CACHE, find_python, skip

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
GOLDEN = os.path.join(os.environ.get("CWP_SHARED", ""), "golden")
GGUF = os.environ.get("CWP_SMOLLM2_GGUF") or os.path.join(CACHE, "smollm2.gguf")
LIMIT = 2e-3

if not os.path.exists(os.path.join(GOLDEN, "smollm2", "config.json")):
    skip("no reference models below CWP_SHARED (%s)" % (os.environ.get("CWP_SHARED") or "not set"))
find_python()

import torch  # noqa: E402
import transformers  # noqa: E402
from compressed_tensors.quantization import disable_quantization  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)


def inspect(*arguments, lines=None):
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect")] + list(arguments), check=True, stdout=subprocess.PIPE, text=True,
        input=None if lines is None else "".join(json.dumps(line) + "\n" for line in lines))
    return [json.loads(line) for line in done.stdout.splitlines()]


def reference(path, ids, weights_only):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), (path, kind, info[kind])
    model = model.eval()
    if weights_only:
        model.apply(disable_quantization)
    with torch.no_grad():
        return [model(torch.tensor([i])).logits[0] for i in ids]


def ours(path, ids, folder):
    out = os.path.join(folder, "logits.safetensors")
    inspect("logits", path, "--out", out, lines=[{"ids": i} for i in ids])
    tensors = load_file(out)
    return [tensors["logits.%d" % i] for i in range(len(ids))]


class Run:
    def __init__(self, folder):
        self.folder = folder
        self.failed = self.jobs = 0

    def check(self, what, good, value):
        self.failed += not good
        print("%s %s: %s" % ("ok  " if good else "FAIL", what, value), flush=True)

    def job(self, text=None, **parts):
        """Runs a job; returns its output."""
        self.jobs += 1
        output = os.path.join(self.folder, "out%d" % self.jobs)
        path = os.path.join(self.folder, "job%d.yaml" % self.jobs)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("OUTPUT", output) if text else json.dumps(dict(parts, output=output)))
        subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", path], check=True, stderr=subprocess.DEVNULL)
        return output

    def compare(self, what, output, ids, weights_only=False):
        a, b = reference(output, ids, weights_only), ours(output, ids, self.folder)
        worst = max((x - y).abs().max().item() for x, y in zip(a, b))
        self.check(what, worst <= LIMIT, "logits differ by %.2g" % worst)

    def dense(self, what, output, ids):
        """The dense form, and that the output itself computes the same."""
        folder = output + "-dense"
        inspect("dense", output, "--out", folder)
        self.compare(what + ", dense form", folder, ids)
        a, b = ours(output, ids, self.folder), ours(folder, ids, self.folder)
        self.check(what + ", itself", all(torch.equal(x, y) for x, y in zip(a, b)), "as its dense form")
        shutil.rmtree(folder)


def small(run):
    ids = torch.randint(3, 500, (2, 40), generator=torch.Generator().manual_seed(1)).tolist()
    samples = os.path.join(run.folder, "samples.jsonl")
    rng = random.Random(3)
    with open(samples, "w", encoding="utf-8") as f:
        for _ in range(8):
            f.write(json.dumps({"ids": [rng.randrange(3, 500) for _ in range(20)], "weights": [0] + [0.05] * 19}) + "\n")

    def static(**options):
        return {"plugin": "static", "options": options}

    schemes = [static(bits=bits, granularity=granularity, symmetric=symmetric, **({"group": 32} if granularity == "group" else {}))
        for bits in (8, 4) for granularity in ("channel", "group") for symmetric in (True, False)]
    schemes += [{"plugin": p, "options": {"activations": "none"}} for p in ("int8", "fp8")]
    for i, quantize in enumerate(schemes):
        model = ("llama31", "smollm2")[i % 2]
        name = model + " " + " ".join(str(v) for v in [quantize["plugin"]] + list(quantize["options"].values()))
        plain = run.job(model=os.path.join(GOLDEN, model), quantize=quantize)
        run.compare(name, plain, ids)
        output = run.job(model=os.path.join(GOLDEN, model), quantize=quantize,
            calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]}, score={"plugin": "fisher"},
            protect={"fraction": 0.05, "carrier": "overlay"})
        run.dense(name + " protected", output, ids)


def families(run):
    """Every other family: whole jobs with packed int4 and with FP8, plain and protected. The group divides all widths:
    transformers takes one scheme for all experts."""
    ids = torch.randint(3, 500, (2, 40), generator=torch.Generator().manual_seed(2)).tolist()
    samples = os.path.join(run.folder, "samples.jsonl")
    for model in ("mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "mixtral", "qwen2moe", "olmo2"):
        for quantize in ({"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 16}},
                         {"plugin": "fp8", "options": {"activations": "none"}}):
            name = model + " " + quantize["plugin"]
            run.compare(name, run.job(model=os.path.join(GOLDEN, model), quantize=quantize), ids)
            output = run.job(model=os.path.join(GOLDEN, model), quantize=quantize,
                calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]}, score={"plugin": "fisher"},
                protect={"fraction": 0.05, "carrier": "overlay"})
            run.dense(name + " protected", output, ids)


def real(run):
    tokens = [t["ids"] for t in inspect("tokens", GGUF, lines=[{"text": t} for t in (
        "The capital of France is Paris, and the capital of Italy is", "Water boils at one hundred degrees.")])]
    with open(os.path.join(SRC, "examples", "jobs", "plain-int4.yaml"), encoding="utf-8") as f:
        text = f.read().split("evaluate:")[0]
    text = text.replace("../models/smollm2.gguf", GGUF).replace("../out/plain-int4", "OUTPUT")
    run.compare("examples/jobs/plain-int4.yaml", run.job(text), tokens)
    samples = os.path.join(run.folder, "few.jsonl")
    with open(samples, "w", encoding="utf-8") as f:
        for ids in tokens:
            f.write(json.dumps({"ids": ids, "weights": [0] + [1 / (len(ids) - 1)] * (len(ids) - 1)}) + "\n")
    output = run.job(model=GGUF, quantize={"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 64}},
        calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]}, score={"plugin": "fisher"},
        protect={"fraction": 0.01, "carrier": "overlay"})
    run.dense("real model, 1 % protected", output, tokens)


def lines_of(name, count=None):
    with open(os.path.join(GOLDEN, "eval-smollm2", name), encoding="utf-8") as f:
        return [json.loads(line) for line in f][:count]


def evaluations(run):
    items = lines_of("crows-pairs-en.jsonl", 60)
    keys = [("sent_more", "ll_more"), ("sent_less", "ll_less")]
    found = inspect("loglik", GGUF, lines=[{"context": "", "continuation": item[s]} for item in items for s, _ in keys])
    worst = max(abs(a["loglik"] - b) for a, b in zip(found, [item[ll] for item in items for _, ll in keys]))
    run.check("log-likelihoods of %d sentences" % len(found), len(found) == 120 and worst <= LIMIT, "differ by %.2g" % worst)


def main():
    with tempfile.TemporaryDirectory(prefix="cwp-transformers-") as folder:
        run = Run(folder)
        small(run)
        families(run)
        if os.path.exists(GGUF):
            real(run)
            evaluations(run)
        else:
            print("without the real model (scripts/packages --model): its part is left out")
        return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())

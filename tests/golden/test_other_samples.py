#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Samples that no reference file was made from: PyTorch's gradients of fresh ones, in f64, give the scores, and jobs over
the same samples must find the same thresholds, counts and weights, within the tolerances of golden/scores-smollm2. So no
constant is tuned to the samples of the reference. Folders of other models may be given as arguments."""
import json
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))
sys.path.insert(0, os.path.join(HERE, "..", "system"))
import engines
from worker_test import WORKER, golden, protected_positions

FRACTIONS = (0.005, 0.01, 0.05, 0.6)
BETA = 0.75
# Name, role, samples, tokens a sequence, sequences a sample: signed pairs as stereotypes are, answers, and plain texts.
SETS = (("pair", "critical", 7, 14, 2), ("answer", "critical", 5, 30, 1), ("text", "utility", 6, 60, 1), ("more", "utility", 4, 25, 1))


def make_samples(rng, kind, count, length, sequences, vocabulary):
    """[sample] of [sequence] of (ids, weights): pairs differ in their last tokens, answers in what goes before."""
    samples = []
    for _ in range(count):
        ids = [rng.randrange(3, vocabulary) for _ in range(length)]
        if kind == "pair":
            n = rng.choice((1, 2, 5))
            other = ids[:-n] + [rng.randrange(3, vocabulary) for _ in range(n)]
            samples.append([(seq, [0.0] * (length - n) + [sign / n] * n) for seq, sign in ((ids, 1), (other, -1))])
        elif kind == "answer":
            n = rng.randrange(3, length - 3)
            samples.append([(ids, [0.0] * (length - n) + [1 / n] * n)])
        else:
            samples.append([(ids, [0.0] + [1 / (length - 1)] * (length - 1))])
    assert all(len(s) == sequences for s in samples)
    return samples


def write_samples(path, samples):
    with open(path, "w", encoding="utf-8") as f:
        for group, sample in enumerate(samples):
            for ids, weights in sample:
                f.write(json.dumps({"ids": ids, "weights": weights, "group": group}) + "\n")


def mean_squares(model, names, samples):
    """E[g^2] of each scored matrix, g being one sample's gradient."""
    import torch
    params = dict(model.named_parameters())
    total = {n: torch.zeros_like(params[n + ".weight"], dtype=torch.float64) for n in names}
    for sample in samples:
        model.zero_grad(set_to_none=True)
        loss = 0
        for ids, weights in sample:
            logits = model(torch.tensor([ids])).logits[0, :-1]
            nll = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            loss = loss + (nll * torch.tensor(weights[1:], dtype=nll.dtype)).sum()
        loss.backward()
        for n in names:
            total[n] += params[n + ".weight"].grad.double() ** 2
    return {n: t / len(samples) for n, t in total.items()}


def ranks(values):
    """doc/method.md, section 5, for importances that are not negative."""
    import torch
    keys = values.float().view(torch.int32).long()
    count = torch.bincount(keys >> 12, minlength=1 << 19)
    below = torch.cumsum(count, 0) - count
    b = keys >> 12
    return (below[b] + count[b] * (((keys & 4095).double() + 0.5) / 4096)) / values.numel()


def run(folder, model, score, fraction):
    out = os.path.join(folder, "out-%d" % len(os.listdir(folder)))
    job = {"model": model, "output": out, "calibrate": {}, "quantize": {"plugin": "int8"}, "protect": {"fraction": fraction},
        "score": dict({"plugin": "fisher", "utility": "subtract", "beta": BETA, "options": {"error-aware": False}}, **score)}
    for name, role, *_ in SETS:
        job["calibrate"].setdefault(role, []).append({"name": name, "data": "samples", "path": os.path.join(folder, name)})
    path = os.path.join(folder, "job-%d.yaml" % len(os.listdir(folder)))
    with open(path, "w", encoding="utf-8") as f:
        json.dump(job, f)
    done = subprocess.run([WORKER, "run", path, "--threads", "2"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    with open(os.path.join(out, "report.json"), encoding="utf-8") as f:
        return out, json.load(f)["protection"]


def compare(what, out, protection, score, fraction):
    """score: name -> tensor. The k-th largest is the threshold; all that reach it are protected."""
    import torch
    flat = torch.cat([s.flatten() for s in score.values()]).float()
    k = int(fraction * 1000 + 0.5) * flat.numel() // 1000
    limit = torch.topk(flat, k).values[-1].item()
    scale = abs(limit) if what != "rank" else 1
    assert abs(protection["threshold"] - limit) <= 1e-3 * scale, (what, fraction, protection["threshold"], limit)
    assert abs(protection["protected"] - k) <= 1e-3 * k + 1, (what, fraction, protection["protected"], k)
    for name, s in score.items():
        want, found = int((s.float() >= limit).sum()), protection["per_module"][name]
        assert abs(found - want) <= 0.005 * want + 5, (what, fraction, name, found, want)
    if flat.numel() > 1000000:
        return
    places = protected_positions(out)
    for name, s in score.items():
        mine = torch.zeros_like(s, dtype=torch.bool)
        for row, col, _ in places.get(name, ()):
            mine[row, col] = True
        clear = (s - limit).abs() > 2e-3 * scale + 2e-3 * s.abs()
        wrong = clear & (mine != (s > limit))
        assert not wrong.any(), (what, fraction, name, wrong.nonzero()[:3].tolist())


def check(model_folder, seed):
    import torch
    import transformers
    small = os.path.getsize(os.path.join(model_folder, "model.safetensors")) < 64 << 20
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64 if small else torch.float32,
        attn_implementation="eager").eval()
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]
    rng = random.Random(seed)
    means = {}
    with tempfile.TemporaryDirectory(prefix="cwp-other-") as folder:
        for name, _, count, length, sequences in SETS:
            samples = make_samples(rng, name, count, length, sequences, model.config.vocab_size)
            write_samples(os.path.join(folder, name), samples)
            means[name] = mean_squares(model, names, samples)
        flat = {s: torch.cat([means[s][n].flatten() for n in names]) for s in means}
        factor = {"reference": {s: 1.0 for s in means}, "mean": {s: 1 / flat[s].mean() for s in means}}
        sign = {name: 1 if role == "critical" else -BETA for name, role, *_ in SETS}
        for combine in ("reference", "mean", "rank"):
            if combine == "rank":
                total = sum(sign[s] * ranks(flat[s]) for s in means)
            else:
                total = sum(sign[s] * factor[combine][s] * flat[s] for s in means)
            score, at = {}, 0
            for n in names:
                shape = means["text"][n].shape
                score[n] = total[at:at + shape.numel()].view(shape)
                at += shape.numel()
            for fraction in FRACTIONS if combine == "reference" else (0.05,):
                compare(combine, *run(folder, model_folder, {"combine": combine}, fraction), score, fraction)
    print("%s, samples of seed %d: thresholds, counts and weights are PyTorch's" % (os.path.basename(model_folder), seed))


if __name__ == "__main__":
    if not os.path.isdir(golden("smollm2")):
        engines.skip("no reference models below CWP_SHARED")
    engines.find_python()
    for seed, folder in enumerate(sys.argv[1:] or (golden("smollm2"), golden("llama31"))):
        check(folder, 2 + 29 * seed)

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs of cwp-worker with limits.gpus: on several GPUs twice to the same bytes, and scores as on one.

    tests/cuda/several.py [--gpus 2] [--families qwen2,..] [--precision f32,bf16] [--samples 40] [--length 100]

Prints, for each family and precision, the planned bytes of each GPU on one and on several, how far the threshold of the
scores and the sets' sums lie from those of one GPU (at most 1e-4 of it in f32, 1e-2 in bf16), the share of protected weights that moved to other
modules (at most 1 % and 5 %), and whether two runs gave the same bytes. Exit: 0, 1, or 77 where there are not as many GPUs. Standard
library only.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

SCORES, OTHERS = {"f32": 1e-4, "bf16": 1e-2}, {"f32": 0.01, "bf16": 0.05}


class Jobs:
    def __init__(self, options, family, precision, work):
        self.options, self.work, self.made = options, work, 0
        folder = os.path.join(os.environ.get("CWP_SHARED", "shared"), "golden", family)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        vocabulary = config.get("text_config", config)["vocab_size"]
        self.job = {"model": folder, "backend": "cuda", "precision": precision, "protect": {"fraction": 0.05},
            "score": {"plugin": "fisher"}, "quantize": {"plugin": "static", "options": {"granularity": "group", "group": 32, "bits": 4}},
            "calibrate": {"critical": [{"name": "a", "data": "samples", "path": self.samples("a", vocabulary)}],
                "utility": [{"name": "b", "data": "samples", "path": self.samples("b", vocabulary)}]}}

    def samples(self, name, vocabulary):
        rng, length = random.Random(name), self.options.length
        path = os.path.join(self.work, name + ".jsonl")
        with open(path, "w", encoding="utf-8") as f:
            for _ in range(self.options.samples):
                f.write(json.dumps({"ids": [rng.randrange(3, vocabulary) for _ in range(length)],
                    "weights": [0] + [1 / (length - 1)] * (length - 1)}) + "\n")
        return path

    def run(self, gpus):
        """Report and content digest of one run. Ends the program where there are not as many GPUs."""
        self.made += 1
        output = os.path.join(self.work, "out%d" % self.made)
        file = output + ".yaml"
        with open(file, "w", encoding="utf-8") as f:
            json.dump(dict(self.job, output=output, limits={"gpus": gpus}), f)
        command = [os.path.join(os.environ.get("CWP_BUILDDIR", "."), "cwp-worker"), "run", file]
        if os.environ.get("CWP_PLUGIN_DIR"):
            command += ["--plugin-dir", os.environ["CWP_PLUGIN_DIR"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode == 65 and ("are asked for" in done.stderr or "backend:" in done.stderr):
            print("skipped:", done.stderr.strip())
            sys.exit(77)
        if done.returncode != 0:
            print("cwp-worker: exit %d: %s" % (done.returncode, done.stderr[-1500:]))
            sys.exit(1)
        found = []
        for name in ("report.json", "manifest.json"):
            with open(os.path.join(output, name), encoding="utf-8") as f:
                found.append(json.load(f))
        return found[0], found[1]["content_digest"]


def compare(options, family, precision):
    with tempfile.TemporaryDirectory(prefix="cwp-several-") as work:
        jobs = Jobs(options, family, precision, work)
        (several, digest), (_, again), (one, _) = [jobs.run(n) for n in (options.gpus, options.gpus, 1)]
    values = [[report["protection"]["threshold"]] + [entry["factor"] for entry in report["protection"]["sets"]] for report in (several, one)]
    far = max(abs(a - b) / abs(b) for a, b in zip(*values))
    counts = [report["protection"]["per_module"] for report in (several, one)]
    other = sum(abs(counts[0][m] - counts[1][m]) for m in counts[1]) / sum(counts[1].values())
    right = far <= SCORES[precision] and other <= OTHERS[precision] and digest == again and len(several["device"]["uuids"]) == options.gpus
    print("%s, %s: planned %.2f GB of one GPU, %.2f GB of each of %d; scores off by %.1e, protected elsewhere %.2f %%, %s bytes twice: %s"
        % (family, precision, one["bounds"]["gpu_memory"] / 1e9, several["bounds"]["gpu_memory"] / 1e9, options.gpus, far, 100 * other,
            "the same" if digest == again else "OTHER", "right" if right else "WRONG"), flush=True)
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--families", default="qwen2,mixtral")
    parser.add_argument("--precision", default="f32,bf16")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--length", type=int, default=100)
    options = parser.parse_args()
    results = [compare(options, family, precision) for family in options.families.split(",") for precision in options.precision.split(",")]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The tiny models of all families through cwp-inspect on a backend: logits, losses and statistics against the references.

    tests/cuda/goldens.py [--backend cuda|cpu] [--precision f32,bf16] [--families qwen2,..]

The table has, for each family and kind, the worst tensor's largest difference, relative to its own largest value (or to 1e-4 of the
largest of its kind in that model, where that is more), and the error of all tensors together by the Frobenius norm. In f32 the largest
difference counts: at most 1e-4. In bf16 the norm does: at most 1e-2, or half as much again as the CPU's bf16 is off, whose kernels and
sums are others and whose operands are rounded alike (of two experts that are all but equal, a router takes the other one there, too).
Exit: 0, 1, or 77 when there is no device, no backend or no reference data. Standard library and numpy.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError:
    print("skipped: there is no numpy")
    sys.exit(77)

LIMIT = {"f32": 1e-4, "bf16": 1e-2}
BESIDE = 1.5  # of the CPU's error in the same precision
KINDS = ["logits", "loss", "grad_sum", "grad_abs", "grad_sq", "act_sq", "act_absmax"]


def read(path):
    """All tensors of a safetensors file of F32 and I64."""
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        data = f.read()
    types = {"F32": numpy.float32, "I64": numpy.int64}
    return {name: numpy.frombuffer(data[slice(*e["data_offsets"])], types[e["dtype"]]).reshape(e["shape"])
            for name, e in header.items() if name != "__metadata__"}


class Inspect:
    def __init__(self, options, precision):
        program = os.path.join(os.environ.get("CWP_BUILDDIR", "."), "cwp-inspect")
        self.command = [program]
        self.options = ["--backend", options.backend, "--precision", precision]
        if os.environ.get("CWP_PLUGIN_DIR"):
            self.options += ["--plugin-dir", os.environ["CWP_PLUGIN_DIR"]]

    def run(self, arguments, lines):
        done = subprocess.run(self.command + arguments + self.options, input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True, text=True, timeout=500)
        if done.returncode:
            said = "\n".join(line for line in done.stdout.splitlines() if line.startswith("="))  # of compute-sanitizer
            raise RuntimeError("cwp-inspect %s: exit %d: %s" % (" ".join(arguments[:2]), done.returncode,
                (done.stderr.strip() + said)[-1500:]))
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def measure(inspect, folder, work):
    """Everything that a reference holds, from the backend."""
    ids = read(os.path.join(folder, "golden.safetensors"))["input_ids"].tolist()
    out = os.path.join(work, "out.safetensors")
    inspect.run(["logits", folder, "--out", out], [{"ids": row} for row in ids])
    logits = read(out)
    found = {"logits": numpy.stack([logits["logits.%d" % i] for i in range(len(ids))])}
    answers = inspect.run(["loglik", folder], [{"context_ids": row[:1], "continuation_ids": row[1:]} for row in ids])
    found["loss"] = numpy.array([-a["loglik"] / a["tokens"] for a in answers], numpy.float32)
    samples = os.path.join(work, "samples.jsonl")
    with open(samples, "w", encoding="utf-8") as f:
        for row in ids:
            weights = [0] + [1 / (len(row) - 1)] * (len(row) - 1)
            f.write(json.dumps({"ids": row, "weights": weights}) + "\n")
    os.remove(out)
    inspect.run(["statistics", folder, "--samples", samples, "--out", out], [])
    found.update(read(out))
    return found


def named(name, shape, got):
    """Our tensor of the reference's name and shape. The reference keeps all experts of a layer in one tensor, gate and up of
    each one after the other; ours have the checkpoint's names, one matrix each."""
    if name in got:
        return got[name]
    head, _, which = name.rpartition(".mlp.experts.")
    parts = {"down_proj": ["down_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}.get(which)
    if not parts:
        return got.get(name.replace(".mlp.gate.", ".block_sparse_moe.gate."))
    if head + ".block_sparse_moe.experts.0.w1.weight" in got:
        mixtral = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
        head, parts = head + ".block_sparse_moe.experts", [mixtral[p] for p in parts]
    else:
        head += ".mlp.experts"
    names = ["%s.%d.%s.weight" % (head, e, p) for e in range(shape[0]) for p in parts]
    return numpy.concatenate([got[n].ravel() for n in names]) if all(n in got for n in names) else None


def compare(want, got):
    """kind -> (largest difference relative to the largest value, Frobenius, tensor that is worst); '' of missing ones."""
    result = {}
    for kind in KINDS:
        names = [n for n in want if n == kind or n.startswith(kind + "/")]
        ours = {n: named(n, want[n].shape, got) for n in names}
        missing = [n for n in names if ours[n] is None or ours[n].size != want[n].size]
        if missing:
            result[kind] = (float("inf"), float("inf"), "missing: " + missing[0])
            continue
        top = max(float(numpy.abs(want[n]).max()) for n in names)
        worst, where, squares, all_squares = 0.0, "", 0.0, 0.0
        for n in names:
            w = want[n].astype(numpy.float64)
            d = ours[n].reshape(w.shape).astype(numpy.float64) - w
            unit = max(float(numpy.abs(w).max()), 1e-4 * top)
            relative = float(numpy.abs(d).max()) / unit
            squares += float((d * d).sum())
            all_squares += float((w * w).sum())
            if not relative <= worst:
                worst, where = relative, n
        result[kind] = (worst, (squares / all_squares) ** 0.5, where)
    return result


def families(options, shared):
    golden = os.path.join(shared, "golden")
    names = sorted(n for n in os.listdir(golden) if os.path.exists(os.path.join(golden, n, "golden.safetensors"))) \
        if os.path.isdir(golden) else []
    if options.families:
        names = [n for n in options.families.split(",")]
    return [os.path.join(golden, n) for n in names]


def no_device(text):
    """Whether a first failure only says that the machine or the build has no such backend."""
    return any(word in text for word in ("no NVIDIA driver", "no GPU", "no backend plugin"))


def table(precision, results):
    print("\n%s, largest difference (Frobenius):\n" % precision)
    print("| family | " + " | ".join(KINDS) + " |\n|" + " --- |" * (len(KINDS) + 1))
    for family, result in results:
        print("| %s | %s |" % (family, " | ".join("%.1e (%.1e)" % result[k][:2] for k in KINDS)))


def compared(inspect, folder):
    with tempfile.TemporaryDirectory() as work:
        return compare(read(os.path.join(folder, "golden.safetensors")), measure(inspect, folder, work))


def beyond(options, precision, folder, result):
    """What is further from the reference than allowed, a line each."""
    which = 0 if precision == "f32" else 1
    far = [k for k in KINDS if not result[k][which] <= LIMIT[precision]]
    if not far or which == 0:
        return ["%s: %.2e at %s, allowed are %.0e" % (k, result[k][0], result[k][2], LIMIT[precision]) for k in far]
    limits = dict.fromkeys(KINDS, LIMIT[precision])
    if options.backend != "cpu":
        beside = compared(Inspect(argparse.Namespace(backend="cpu"), precision), folder)
        limits = {k: max(LIMIT[precision], BESIDE * beside[k][1]) for k in KINDS}
    return ["%s: %.2e by the Frobenius norm, allowed are %.1e" % (k, result[k][1], limits[k]) for k in far
        if not result[k][1] <= limits[k]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default=os.environ.get("CWP_TEST_BACKEND") or "cpu")
    parser.add_argument("--precision", default="")
    parser.add_argument("--families", default="")
    options = parser.parse_args()
    shared = os.environ.get("CWP_SHARED", "../shared")
    folders = families(options, shared)
    if not folders:
        print("skipped: %s/golden is absent" % shared)
        return 77
    precisions = options.precision.split(",") if options.precision else ["f32"] if options.backend == "cpu" else ["f32", "bf16"]
    failed = 0
    for precision in precisions:
        inspect, results, bad = Inspect(options, precision), [], []
        for folder in folders:
            family = os.path.basename(folder)
            try:
                result = compared(inspect, folder)
            except RuntimeError as e:
                if not results and not bad and no_device(str(e)):
                    print("skipped: %s" % e)
                    return 77
                bad.append("%s: %s" % (family, e))
                continue
            results.append((family, result))
            bad += ["%s: %s" % (family, text) for text in beyond(options, precision, folder, result)]
        table(precision, results)
        print("\n%s %s: %d families, %d comparisons beyond their limits" % (options.backend, precision, len(folders), len(bad)))
        print("".join("  %s\n" % b for b in bad), end="")
        failed += len(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

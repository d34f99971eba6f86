#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""LLM.int8() against bitsandbytes on the CPU: the codes and absmax of a job's output are those that the library makes of the
same model; inputs, outlier channels among them, are quantized to the same codes by our backend; and products of whole
modules agree. Exit 77 when something needed is absent."""
import json
import os
import subprocess
import sys
import tempfile

from engines import GOLDEN, check, failures, find_python, need_golden, need_package, skip

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
MODEL = os.path.join(GOLDEN, "llama31")
TOOL = os.path.join(BUILD, "tests", "interop", "quantize_inputs")

need_golden("llama31")
if not os.access(TOOL, os.X_OK):
    skip(f"{TOOL} is not built")
find_python()
need_package("bitsandbytes")

import torch  # noqa: E402
from bitsandbytes import functional  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

torch.set_num_threads(1)


def ours(x, threshold):
    """x [tokens, channels] as one sequence."""
    line = f"6 0 0 0 {threshold} {x.shape[0]} {x.shape[1]}\n"
    done = subprocess.run([TOOL], input=line.encode() + x.contiguous().numpy().tobytes(), stdout=subprocess.PIPE, check=True)
    return torch.frombuffer(bytearray(done.stdout), dtype=torch.float32).reshape(x.shape)


def theirs(x, threshold):
    codes, absmax, outliers = functional.int8_vectorwise_quant(x.to(torch.float16), threshold=threshold)
    value = codes.float() * (absmax / 127.0).unsqueeze(-1)
    if outliers is not None and outliers.numel():
        value[:, outliers] = x[:, outliers]
    return value, 0 if outliers is None else outliers.numel()


def inputs():
    draw = torch.Generator().manual_seed(4)
    for rows, threshold, spread in ((1, 6.0, 3.0), (7, 6.0, 2.0), (64, 6.0, 1.5), (64, 2.5, 1.0), (16, 0.0, 4.0)):
        x = torch.randn(rows, 200, generator=draw) * spread
        x[rows // 2] *= 1e-3 if rows > 1 else 1
        want, outliers = theirs(x.clone(), threshold)
        check(torch.equal(ours(x, threshold), want), f"{rows} tokens, threshold {threshold}: {outliers} outlier channels")
        check((outliers > 0) == (threshold > 0), f"{rows} tokens, threshold {threshold}: outliers where there may be some")


def weights(folder):
    output, job = os.path.join(folder, "out"), os.path.join(folder, "job.yaml")
    with open(job, "w", encoding="utf-8") as f:
        json.dump({"model": MODEL, "output": output, "quantize": {"plugin": "int8"}, "write": {"format": "bitsandbytes"}}, f)
    subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", job], check=True, stderr=subprocess.DEVNULL)
    written, original = load_file(os.path.join(output, "model.safetensors")), load_file(os.path.join(MODEL, "model.safetensors"))
    modules = [name[:-len(".SCB")] for name in written if name.endswith(".SCB")]
    codes = absmax = 0
    worst = 0.0
    draw = torch.Generator().manual_seed(5)
    for name in modules:
        theirs_codes, theirs_absmax, _ = functional.int8_vectorwise_quant(original[name + ".weight"].to(torch.float16))
        codes += torch.equal(theirs_codes, written[name + ".weight"])
        absmax += torch.equal(theirs_absmax, written[name + ".SCB"])
        x = torch.randn(24, theirs_codes.shape[1], generator=draw) * 2.5
        a, stats, outliers = functional.int8_vectorwise_quant(x.to(torch.float16), threshold=6.0)
        product = torch.ops.bitsandbytes.int8_mixed_scaled_mm(x, a, theirs_codes, stats, theirs_absmax, outliers, None)[0]
        weight = written[name + ".weight"].float() * (written[name + ".SCB"] / 127.0).unsqueeze(-1)
        mine = ours(x, 6.0) @ weight.t()
        worst = max(worst, ((mine - product).abs().max() / product.abs().max()).item())
    check(len(modules) == 14 and codes == len(modules), f"codes of {codes} of {len(modules)} modules are the library's")
    check(absmax == len(modules), f"SCB of {absmax} of {len(modules)} modules is the library's")
    # The library divides by 127 twice as a product with 6.200124e-05, which is 1.8e-5 less.
    check(worst <= 5e-5, f"products differ by {worst:.2g} of the largest")


def main():
    inputs()
    with tempfile.TemporaryDirectory(prefix="cwp-int8-") as folder:
        weights(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

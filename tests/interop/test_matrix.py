#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""README's tables, cell by cell, as cwp-inspect prints them: each combination of quantizer and format, and of format and
carrier, is a job on a small random model whose output the engine of that format loads, float32 on the CPU; logits against
those of cwp-inspect. What the tables call refused, jobs refuse. Exit 77 when something needed is absent.

Limits. Without quantized inputs the engine sums the same weights in another order. With them one last bit may choose
another code, so that the difference is held against what quantizing the inputs changes at all. LLM.int8() is computed in
half precision by bitsandbytes: it must be nearer to cwp-inspect than to the form whose inputs are not quantized."""
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile

from engines import add_gptq, check, failures, find_python, load_model, need_package, quiet, report, run_model

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LIMIT = 1e-4    # on logits of up to 8; 5e-6 is what is seen
INPUTS = 0.05   # of what quantizing the inputs changes, rms; 1e-5 is what is seen, 0.04 with int8
# int8 by token: absmax / 127.5 puts the largest input of each token between two codes, so that its last bit chooses. 0.4 is seen.
TIES = 0.6
HALF = 0.6      # of the KL between bitsandbytes and the form whose inputs are not quantized; 0.13 is seen
MODULE = 1e-5   # of the largest output of a module; 0 is what is seen
HALF_MODULE = 5e-3  # the same of bitsandbytes, whose products are in half precision; 2e-3 is what is seen
GPTQ_KL = 1e-4  # GPT-QModel's kernels for CPUs are not exact

find_python()
need_package("bitsandbytes")
need_package("peft")
need_package("gguf")
GPTQ = add_gptq()
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # small models are not worth compiling

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from compressed_tensors.quantization import disable_quantization  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

sys.path.insert(0, os.path.join(SRC, "loader"))
sys.dont_write_bytecode = True
from cwp_loader import Checkpoint, load  # noqa: E402

quiet(2)
IDS = torch.randint(3, 250, (2, 24), generator=torch.Generator().manual_seed(1))
# A quantizer for each format, and what a carrier protects.
QUANTIZE = {"compressed-tensors": ("static", {"bits": 4, "granularity": "group", "group": 32}), "bitsandbytes": ("int8", {}),
    "gptq": ("static", {"bits": 4, "granularity": "group", "group": 32}), "fp8": ("fp8", {"granularity": "block"}),
    "gguf": ("static", {"bits": 4, "granularity": "group", "group": 32}), "dense": ("static", {"bits": 3})}
UNITS = {"modules": "module", "adapter": "column"}


def tables():
    text = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "formats"], check=True, stdout=subprocess.PIPE, text=True).stdout
    both = [[[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()] for part in text.split("\n\n")]
    return [(part[0], part[2:]) for part in both]


def make_model(folder):
    """A random Llama whose sides 128 divides, as blocks of FP8 want, some of whose channels are outliers of LLM.int8()."""
    torch.manual_seed(7)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, vocab_size=256, max_position_embeddings=64, tie_word_embeddings=False,
        initializer_range=0.09, torch_dtype="float32"))
    for layer in model.model.layers:
        layer.input_layernorm.weight.data[5] = layer.post_attention_layernorm.weight.data[9] = 6
    model.save_pretrained(folder)


def options_of(text):
    """As the first table writes them; groups of a size that divides the model's sides."""
    found = dict(word.split(" ") for word in text.split(", "))
    if found.get("granularity") == "group":
        found["group"] = "32"
    return {name: {"true": True, "false": False}.get(value, int(value) if value.isdigit() else value) for name, value in found.items()}


class Run:
    def __init__(self, folder):
        self.folder, self.made, self.model = folder, 0, os.path.join(folder, "model")
        self.samples = os.path.join(folder, "samples.jsonl")
        make_model(self.model)
        with open(self.samples, "w", encoding="utf-8") as f:
            f.write(json.dumps({"ids": IDS[0].tolist(), "weights": [0] + [1 / 23] * 23}) + "\n")

    def job(self, plugin, options, format, carrier="none"):
        self.made += 1
        out = os.path.join(self.folder, "out%d" % self.made)
        job = {"model": self.model, "output": out, "quantize": {"plugin": plugin, "options": options}, "write": {"format": format}}
        if options.get("activations") == "static" or carrier != "none":
            job["calibrate"] = {"critical": [{"name": "lot", "data": "samples", "path": self.samples}]}
        if carrier != "none":  # what is protected is drawn by lot
            unit = UNITS.get(carrier, "weight")
            job["score"] = {"plugin": "control"}
            job["protect"] = {"fraction": 0.2 if unit == "module" else 0.05, "super-weights": False, "unit": unit, "carrier": carrier}
        with open(out + ".yaml", "w", encoding="utf-8") as f:
            json.dump(job, f)
        return out

    def worker(self, verb, out):
        return subprocess.run([os.path.join(BUILD, "cwp-worker"), verb, out + ".yaml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, check=False)

    def output(self, *job):
        out = self.job(*job)
        done = self.worker("run", out)
        assert done.returncode == 0, done.stderr
        subprocess.run([os.path.join(BUILD, "cwp-inspect"), "verify", out], check=True, stdout=subprocess.DEVNULL)
        return out

    def refused(self, what, *job):
        done = self.worker("plan", self.job(*job))
        said = (done.stderr or done.stdout).strip()
        if done.returncode != 65 or "\n" in said or not ("write.format" in said or "carrier" in said or "granularity" in said):
            check(False, "%s, refused: %d %s" % (what, done.returncode, said))


def own(out, activations):
    """What cwp-inspect computes."""
    path = "%s-%s.safetensors" % (out, activations)
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", out, "--out", path, "--activations", activations], check=True,
        stdout=subprocess.DEVNULL, text=True, input="".join(json.dumps({"ids": row}) + "\n" for row in IDS.tolist()))
    found = load_file(path)
    return torch.stack([found["logits.%d" % i] for i in range(len(IDS))])


def kl(expected, got):
    a, b = (torch.log_softmax(x.double(), -1) for x in (expected, got))
    return (a.exp() * (a - b)).sum(-1).mean().item()


def near(what, got, expected):
    apart = (got - expected).abs().max().item()
    report(what, apart <= LIMIT, "differ by %.2g" % apart)


def rms(x):
    return x.pow(2).mean().sqrt().item()


def config_groups(out):
    with open(os.path.join(out, "config.json"), encoding="utf-8") as f:
        return json.load(f)["quantization_config"].get("config_groups", {}).values()


def with_inputs(what, got, plain, out):
    """got quantizes its inputs, plain is the same model without."""
    effect, apart = rms(got - plain), rms(got - own(out, "on"))
    inputs = [group.get("input_activations") or {} for group in config_groups(out)]
    ties = any(i.get("type") == "int" and i.get("dynamic") for i in inputs)
    report(what + ", inputs", effect > 0 and apart <= (TIES if ties else INPUTS) * effect, "rms %.2g of %.2g" % (apart, effect))


def plain(what, out):
    near(what, run_model(load_model(out), IDS), own(out, "off"))


def compressed(what, out):
    model = load_model(out)
    got = run_model(model, IDS)  # the first pass decompresses
    model.apply(disable_quantization)
    off = run_model(model, IDS)
    near(what, off, own(out, "off"))
    if any(group.get("input_activations") for group in config_groups(out)):
        with_inputs(what, got, off, out)


def bitsandbytes(what, out):
    model = load_model(out)
    linears = sum(type(m).__name__ == "Linear8bitLt" for m in model.modules())
    got = run_model(model, IDS)
    share = kl(own(out, "on"), got) / kl(own(out, "off"), got)
    report(what, linears > 0 and share <= HALF, "%d modules, KL %.2g of that of inputs as they are" % (linears, share))


def gptq(what, out):
    near(what + ", decoded", run_model(load(out, dtype=torch.float32, dense=True), IDS), own(out, "off"))
    with open(os.path.join(out, "config.json"), encoding="utf-8") as f:
        config = json.load(f)["quantization_config"]
    if GPTQ and config["group_size"] > 0:  # the library's kernel for CPUs takes no rows without groups
        with contextlib.redirect_stdout(io.StringIO()):
            apart = kl(own(out, "off"), run_model(load_model(out), IDS))
        report(what + ", GPT-QModel", apart <= GPTQ_KL, "KL %.2g" % apart)


def gguf(what, out):
    near(what, run_model(load_model(out, gguf_file="model.gguf"), IDS), own(out, "off"))


def overlay(what, out):
    off = run_model(load(out, dtype=torch.float32, activations=False), IDS)
    near(what, off, own(out, "off"))
    got = run_model(load(out, dtype=torch.float32), IDS)
    if not torch.equal(got, off):
        with_inputs(what, got, off, out)


def watch(model, out):
    """Holds each adapted module against Q act(x) + B A x. Returns the differences, which come while the model runs."""
    checkpoint, factors = Checkpoint(out), load_file(os.path.join(out, "adapter", "adapter_model.safetensors"))
    found = []

    def look(name):
        # On a CPU transformers dequantizes FP8 in blocks.
        prefix, act = "base_model.model." + name, None if checkpoint.format.method == "fp8" else checkpoint.activation(name)
        q = checkpoint.module(name).weight(torch.float32)
        a, b = (factors["%s.lora_%s.weight" % (prefix, side)].float() for side in "AB")

        def hook(module, given, result):
            x = given[0]
            expected = (x if act is None else act(x)) @ q.T + x @ a.T @ b.T
            found.append(((result - expected).abs().max() / expected.abs().max()).item())
        return hook
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            module.register_forward_hook(look(name[len("base_model.model."):]))
    return found


def adapted(what, model, out, limit):
    """The model with its adapter, and its logits."""
    run_model(model, IDS)  # the first pass decompresses
    model = peft.PeftModel.from_pretrained(model, os.path.join(out, "adapter")).eval()
    apart = watch(model, out)
    got = run_model(model, IDS)
    report(what + ", each module", len(apart) == 14 and max(apart) <= limit, "%d differ by %.2g" % (len(apart), max(apart)))
    return model, got


def adapter(what, out):
    model, got = adapted(what, load_model(out), out, MODULE)
    model.apply(disable_quantization)
    off = run_model(model, IDS)
    near(what, off, own(out, "off"))
    if not torch.equal(got, off):
        with_inputs(what, got, off, out)


def adapter_bitsandbytes(what, out):
    _, got = adapted(what, load_model(out), out, HALF_MODULE)
    share = kl(own(out, "on"), got) / kl(own(out, "off"), got)
    report(what, share <= HALF, "KL %.2g of that of inputs as they are" % share)


def adapter_gptq(what, out):
    _, got = adapted(what + ", decoded", load(out, dtype=torch.float32, dense=True), out, MODULE)
    near(what + ", decoded", got, own(out, "off"))
    if GPTQ:
        with contextlib.redirect_stdout(io.StringIO()):
            base = load_model(out)
        _, got = adapted(what + ", GPT-QModel", base, out, HALF_MODULE)
        apart = kl(own(out, "off"), got)
        report(what + ", GPT-QModel", apart <= GPTQ_KL, "KL %.2g" % apart)


ENGINES = {"compressed-tensors": compressed, "bitsandbytes": bitsandbytes, "gptq": gptq, "fp8": plain, "gguf": gguf, "dense": plain}
ADAPTERS = {"bitsandbytes": adapter_bitsandbytes, "gptq": adapter_gptq}


def cell(run, what, engine, *job):
    try:
        engine(what, run.output(*job))
    except Exception as e:  # every failure to load is a result of this test
        check(False, "%s: %s: %s" % (what, type(e).__name__, str(e)[:2000]))


def main():
    (heads, grids), (carriers, formats) = tables()
    with tempfile.TemporaryDirectory(prefix="cwp-matrix-") as folder:
        tempfile.tempdir = folder
        run = Run(folder)
        for row in grids:
            for format, layout in zip(heads[2:], row[2:]):
                what = "%s (%s) as %s" % (row[0], row[1], format)
                if layout == "refused":
                    run.refused(what, row[0], options_of(row[1]), format)
                else:
                    cell(run, "%s, %s" % (what, layout), ENGINES[format], row[0], options_of(row[1]), format)
        for row in formats:
            for carrier, said in zip(carriers[1:], row[1:]):
                what, job = "%s with %s" % (row[0], carrier), (*QUANTIZE[row[0]], row[0], carrier)
                if said == "refused":
                    run.refused(what, *job)
                elif carrier != "none":
                    engine = overlay if said.startswith("cwp-loader") else ENGINES[row[0]]
                    if carrier == "adapter":
                        engine = ADAPTERS.get(row[0], adapter)
                    if carrier == "dense" and row[0] != "gguf":
                        engine = plain
                    cell(run, what, engine, *job)
        # Adapters over inputs of 8 bits.
        for plugin, options in (("static", {"bits": 8, "activations": "dynamic"}), ("static", {"bits": 8, "activations": "static"}),
                ("fp8", {})):
            cell(run, "adapter over %s %s" % (plugin, options), adapter, plugin, options, "compressed-tensors", "adapter")
    print("%d failures%s" % (len(failures), "" if GPTQ else "; GPT-QModel is absent (scripts/packages --python)"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Outputs as one GGUF file: blocks, names, values and keys of every family against the gguf package and against a file that it
writes of the same model; logits in transformers against our dense twin and against cwp-inspect; tokenizers give the ids of the
reference data; what GGUF cannot say is refused. The real model, with whole modules kept, in transformers and in llama.cpp, whose
products are of quantized inputs. Exit 77 when something needed is absent."""
import json
import os
import subprocess
import sys
import tempfile

from engines import CACHE, GOLDEN, SHARED, failures, find_python, load_model, need_golden, need_package, quiet, report, run_model, skip

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
WRITE = os.path.join(BUILD, "tests", "interop", "write_gguf")
FAMILIES = ["llama31", "smollm2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "mixtral", "qwen2moe", "olmo2"]
# What transformers' GGUF path computes right: it does not read rope_freqs.weight (llama31), windows of Mistral, sizes of heads and
# scales of queries other than the usual (qwen3, gemma2, gemma3), and has no Gemma 1, Mixtral and OLMo 2.
IN_TRANSFORMERS = ("smollm2", "qwen2")
LIMIT = 2e-3  # on logits; 0 is what is seen
ENGINE_LIMIT = 1e-4  # on logits of cwp-inspect beside those of transformers
REAL = os.path.join(CACHE, "smollm2-hf")
REAL_LIMIT = 5e-4
LLAMA_KL = 0.02  # llama.cpp quantizes inputs by 32 to 8 bits
TEXTS = ("The lighthouse keeper wrote in his diary that", "To make bread you need flour, water,", "Once upon a time there was a")

need_golden("llama31")
if not os.access(WRITE, os.X_OK):
    skip("%s is not built" % WRITE)
find_python()
need_package("gguf")
need_package("xllamacpp")

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import gguf_models  # noqa: E402

quiet(1)


def write(model, out, scheme, carrier="none"):
    done = subprocess.run([WRITE, model, out, scheme, carrier], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 2):
        raise AssertionError("write_gguf %s %s: %s" % (model, scheme, done.stderr))
    return done.stderr.strip()


# ---- blocks ----

def halves(count):
    """Scales that F16 and BF16 hold."""
    rng = np.random.default_rng(3)
    return np.ldexp(1 + rng.integers(0, 128, count) / 128, rng.integers(-17, 15, count)).astype(np.float32)


def blocks():
    rng = np.random.default_rng(4)
    for bits, kind in ((8, gguf.GGMLQuantizationType.Q8_0), (4, gguf.GGMLQuantizationType.Q4_0)):
        top = 1 << (bits - 1)
        codes = rng.integers(-top, top, (500, 32)).astype(np.int8)
        scales = halves(500)
        rows = b"".join(c.tobytes() + s.tobytes() for c, s in zip(codes, scales))
        done = subprocess.run([WRITE, "codes", str(bits)], input=rows, stdout=subprocess.PIPE, check=True)
        found = np.frombuffer(done.stdout, np.uint8).reshape(500, -1)
        want = codes.astype(np.float32) * scales[:, None]
        report("%s, codes of 500 blocks" % kind.name, np.array_equal(gguf.quants.dequantize(found, kind), want), "equal")
        # The package's own blocks, taken apart and put together again.
        theirs = gguf.quants.quantize(rng.normal(0, 0.05, (500, 32)).astype(np.float32), kind)
        d = theirs[:, :2].copy().view(np.float16)[:, 0].astype(np.float32)
        values = gguf.quants.dequantize(theirs, kind)
        if bits == 4:  # the sign of a scale is the package's choice; ours is always positive
            theirs, values, d = theirs[d > 0], values[d > 0], d[d > 0]
        codes = np.rint(values / d[:, None]).astype(np.int8)
        rows = b"".join(c.tobytes() + s.tobytes() for c, s in zip(codes, d))
        done = subprocess.run([WRITE, "codes", str(bits)], input=rows, stdout=subprocess.PIPE, check=True)
        report("%s, bytes of the package's %d blocks" % (kind.name, len(d)), done.stdout == theirs.tobytes(), "equal")


# ---- whole models ----

def value_of(field):
    x = field.contents()
    return [float(v) if isinstance(v, float) else v for v in x] if isinstance(x, list) else x


def read(path):
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    return {k: value_of(f) for k, f in reader.fields.items() if not k.startswith("GGUF.")}, tensors


def values_of(tensor):
    x = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return x.reshape([int(n) for n in reversed(tensor.shape)])


def compare_tensors(what, config, checkpoint, tensors):
    """The file's values under the names of the gguf package and in the order of its converter."""
    wanted = dict(gguf_models.Names(config, False).convert(checkpoint))
    extra = {"rope_freqs.weight"} if config["rope_parameters"].get("rope_type") == "llama3" else set()
    names = (set(wanted) | extra) ^ set(tensors)
    wrong = [n for n, x in wanted.items() if n in tensors and not np.array_equal(values_of(tensors[n]), x)]
    report(what + ", tensors in the gguf package", not names and not wrong, sorted(names) or wrong or "%d equal" % len(wanted))
    vectors = [n for n, t in tensors.items() if len(t.shape) == 1 and t.tensor_type.name != "F32"]
    report(what + ", vectors", not vectors, vectors or "F32")


def compare_keys(what, config, tensors, keys, folder):
    """The keys of a file that the gguf package writes of the same model."""
    path = os.path.join(folder, "reference.gguf")
    gguf_models.write(path, config, tensors)
    wanted, theirs = read(path)
    if config["rope_parameters"].get("rope_type") == "default":
        wanted.pop(keys["general.architecture"] + ".rope.scaling.original_context_length", None)  # without a scaling
    if "general.architecture" in keys:
        wanted = {k: v for k, v in wanted.items() if not k.startswith(("general.", "tokenizer."))}
    wrong = {k: (v, keys.get(k)) for k, v in wanted.items() if keys.get(k) != v and not (v == 0 and k not in keys)}
    report(what + ", keys", not wrong, wrong or "%d equal" % len(wanted))
    return theirs


def logits_of(path, ids, **more):
    return run_model(load_model(path, **more), torch.tensor(ids)).numpy()


def inspect_each(path, ids, folder):
    out = os.path.join(folder, "logits.safetensors")
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", path, "--out", out], check=True, text=True,
        stdout=subprocess.DEVNULL, input="".join(json.dumps({"ids": i}) + "\n" for i in ids))
    found = load_file(out)
    return [found["logits.%d" % i] for i in range(len(ids))]


def compare_logits(what, name, out, folder):
    ids = np.random.default_rng(6).integers(3, 500, (2, 24)).tolist()
    wanted = logits_of(out + "-dense", ids)
    ours = np.abs(np.stack(inspect_each(out, ids, folder)) - wanted).max()
    report(what + ", logits of cwp-inspect", ours <= ENGINE_LIMIT, "differ by %.2g" % ours)
    if np.abs(wanted - logits_of(os.path.join(GOLDEN, name), ids)).max() <= LIMIT:
        report(what + ", is quantized", False, "logits are those of the original")
    if name in IN_TRANSFORMERS:
        theirs = np.abs(logits_of(out, ids, gguf_file="model.gguf") - wanted).max()
        report(what + ", logits in transformers", theirs <= LIMIT, "differ by %.2g" % theirs)


def models(folder):
    for name in FAMILIES:
        config, tensors = gguf_models.load(name)
        model = os.path.join(GOLDEN, name)
        out = os.path.join(folder, name + "-copy")
        refusal = write(model, out, "copy")
        keys, found = read(os.path.join(out, "model.gguf"))
        report(name + ", written", not refusal and os.listdir(out).count("model.gguf") == 1, refusal or "whole")
        compare_tensors(name, config, tensors, found)
        theirs = compare_keys(name, config, tensors, keys, folder)
        if "rope_freqs.weight" in theirs:
            near = np.allclose(found["rope_freqs.weight"].data, theirs["rope_freqs.weight"].data, rtol=1e-6, atol=0)
            report(name + ", factors of the rotary embedding", near, found["rope_freqs.weight"].data.tolist())
    for name, scheme in [(n, s) for n in ("llama31", "qwen2", "gemma3") for s in ("q8_0", "mixed")] + [
            ("smollm2", "q8_0"), ("smollm2", "q4_0"), ("smollm2", "mixed"), ("qwen3", "q4_0"), ("phi3", "mixed"), ("mixtral", "q4_0")]:
        what, out = "%s as %s" % (name, scheme), os.path.join(folder, name + "-" + scheme)
        refusal = write(os.path.join(GOLDEN, name), out, scheme)
        report(what, not refusal, refusal or "written")
        twin = load_file(os.path.join(out + "-dense", "model.safetensors"))
        _, found = read(os.path.join(out, "model.gguf"))
        compare_tensors(what, gguf_models.load(name)[0], twin, found)
        compare_logits(what, name, out, folder)
    out = os.path.join(folder, "smollm2-dense-carrier")
    refusal = write(os.path.join(GOLDEN, "smollm2"), out, "q4_0", "dense")
    report("smollm2, carrier dense", not refusal, refusal or "written")
    compare_logits("smollm2, carrier dense", "smollm2", out, folder)


# ---- tokenizers ----

def model_of(config, tensors, folder):
    place = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(place, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    save_file(tensors, os.path.join(place, "model.safetensors"))
    return place


def small_model(name, folder, size):
    """One layer with that many embeddings and this tokenizer."""
    config, tensors = gguf_models.load("smollm2")
    config.update(num_hidden_layers=1, vocab_size=size)
    tensors = {k: v for k, v in tensors.items() if ".layers.1." not in k}
    tensors["model.embed_tokens.weight"] = np.zeros((size, config["hidden_size"]), np.float16)
    place = model_of(config, tensors, folder)
    for text in ("tokenizer.json", "tokenizer_config.json"):
        os.symlink(os.path.join(SHARED, "tokenizers", name, text), os.path.join(place, text))
    return place


def tokenizers(folder):
    sizes = {"smollm2": 49152, "llama2": 32064, "qwen2_5": 151936, "mistral_nemo": 131072, "gemma3": 262208}
    for name, size in sizes.items():
        out = os.path.join(folder, "tokens-" + name)
        refusal = write(small_model(name, folder, size), out, "copy")
        report("%s, tokenizer" % name, not refusal, refusal or "written")
        if refusal:
            continue
        with open(os.path.join(GOLDEN, "tokens", name + ".jsonl"), encoding="utf-8", newline="\n") as f:
            lines = [json.loads(line) for line in f.read().split("\n") if line]
        asked = "".join(json.dumps({k: line[k] for k in ("text", "add_special_tokens")}) + "\n" for line in lines)
        done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "tokens", out], input=asked, stdout=subprocess.PIPE, text=True,
            check=True)
        got = [json.loads(line)["ids"] for line in done.stdout.split("\n") if line]
        wrong = [(line["text"], g) for line, g in zip(lines, got) if g != line["ids"]]
        report("%s, tokens" % name, not wrong and len(got) == len(lines), wrong[:3] or "%d lines" % len(got))
        keys, _ = read(os.path.join(out, "model.gguf"))
        with open(os.path.join(SHARED, "tokenizers", name, "tokenizer_config.json"), encoding="utf-8") as f:
            config = json.load(f)
        for key in ("bos", "eos"):
            text = config.get(key + "_token")
            text = text["content"] if isinstance(text, dict) else text
            if text:
                token = keys["tokenizer.ggml.tokens"][keys["tokenizer.ggml.%s_token_id" % key]]
                report("%s, %s" % (name, key), token == text, token)
        chat = config.get("chat_template")
        report("%s, chat template" % name, keys.get("tokenizer.chat_template") == chat, "%d characters" % len(chat or ""))
        report("%s, kinds of tokens" % name, len(keys["tokenizer.ggml.token_type"]) == size, size)


# ---- the real model ----

def real_output(folder):
    """4 bits, a part of the modules whole, chosen by lot."""
    out, samples = os.path.join(folder, "real"), os.path.join(folder, "samples.jsonl")
    with open(samples, "w", encoding="utf-8") as f:
        f.write(json.dumps({"ids": [1, 2, 3, 4], "weights": [0, 1, 1, 1]}) + "\n")
    with open(out + ".yaml", "w", encoding="utf-8") as f:
        json.dump({"model": REAL, "output": out, "write": {"format": "gguf"},
            "quantize": {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32}},
            "calibrate": {"critical": [{"name": "lot", "data": "samples", "path": samples}]}, "score": {"plugin": "control"},
            "protect": {"fraction": 0.1, "super-weights": False, "unit": "module", "carrier": "modules"}}, f)
    subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", out + ".yaml", "--threads", "2"], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    return out


class Llama:
    """llama.cpp."""

    def __init__(self, path):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.warmup, params.verbosity = path, 256, False, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
        self.server = xllamacpp.Server(params)

    def greedy(self, prompt, count):
        """The tokens that it goes on with, the largest log-probabilities at each, and the number of tokens of the prompt."""
        said = self.server.handle_completions({"prompt": prompt, "max_tokens": count, "temperature": 0, "logprobs": 100, "n_probs": 100})
        said = said if isinstance(said, dict) else json.loads(said)
        content = said["choices"][0]["logprobs"]["content"]
        tops = [{t["id"]: t["logprob"] for t in place["top_logprobs"]} for place in content]
        return [place["id"] for place in content], tops, said["usage"]["prompt_tokens"]


def divergence(tops, logits):
    """Mean KL over their places, of the tokens that llama.cpp names."""
    total = 0.0
    for top, row in zip(tops, torch.log_softmax(torch.tensor(logits).double(), -1)):
        total += sum(np.exp(p) * (p - row[token].item()) for token, p in top.items())
    return total / len(tops)


def real(folder):
    if not os.path.exists(os.path.join(REAL, "config.json")):
        print("SmolLM2-135M is absent (scripts/packages --model)")
        return
    out = real_output(folder)
    path = os.path.join(out, "model.gguf")
    _, found = read(path)
    kinds = sorted({t.tensor_type.name for n, t in found.items() if len(t.shape) == 2 and n.startswith("blk.")})
    report("real model, types of matrices", kinds == ["BF16", "Q4_0"], kinds)
    asked = "".join(json.dumps({"text": text, "add_special_tokens": False}) + "\n" for text in TEXTS)
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "tokens", out], input=asked, stdout=subprocess.PIPE, text=True, check=True)
    prompts = [json.loads(line)["ids"] for line in done.stdout.splitlines()]
    llama, lines, tops, lengths = Llama(path), [], [], []
    for prompt, text in zip(prompts, TEXTS):
        tokens, top, _ = llama.greedy(prompt, 6)
        lines.append(prompt + tokens[:-1])
        tops.append(top)
        lengths.append(llama.greedy(text, 1)[2])
    report("real model, llama.cpp's tokens of texts", lengths == [len(p) for p in prompts], lengths)
    ours, plain = inspect_each(out, lines, folder), inspect_each(REAL, lines, folder)
    apart, control = (np.mean([divergence(top, x[len(p) - 1:]) for top, x, p in zip(tops, logits, prompts)]) for logits in (ours, plain))
    report("real model, llama.cpp", apart <= LLAMA_KL and control > 3 * apart, "KL %.2g; the original is at %.2g" % (apart, control))
    model = load_model(out, gguf_file="model.gguf")
    worst = max(np.abs(run_model(model, torch.tensor([line])).numpy()[0] - x).max() for line, x in zip(lines, ours))
    report("real model, logits in transformers", worst <= REAL_LIMIT, "differ by %.2g" % worst)


# ---- refusals ----

def changed(name, **more):
    config, tensors = gguf_models.load(name)
    rope = more.pop("rope", None)
    config.update(more)
    if rope:
        config["rope_parameters"] = dict(config["rope_parameters"], **rope)
    return config, tensors


def refusals(folder):
    local = {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0}
    extra = changed("llama31")
    extra[1]["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(8, np.float32)
    headless = changed("llama31")
    del headless[1]["lm_head.weight"]
    expert = changed("mixtral")
    del expert[1]["model.layers.1.block_sparse_moe.experts.3.w2.weight"]
    cases = {
        "the sliding window": changed("qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=0,
            layer_types=["sliding_attention"] * 2),
        "the scale of attention": changed("gemma2", query_pre_attn_scalar=100),
        "norm_topk_prob": changed("qwen2moe", norm_topk_prob=True),
        "frequencies": changed("gemma3", rope={"sliding_attention": local}),
        "rotary_emb.inv_freq": extra,
        "lm_head.weight": headless,
        "3 of its 4 experts": expert,
    }
    for part, (changed_config, tensors) in cases.items():
        said = write(model_of(changed_config, tensors, folder), os.path.join(folder, "refused"), "copy")
        report("refused, " + part, part in said and "\n" not in said, said)
    said = write(os.path.join(GOLDEN, "qwen2moe"), os.path.join(folder, "refused"), "q4_0")
    report("refused, experts of 48 columns", "48 columns" in said and "skip the module" in said, said)


def main():
    with tempfile.TemporaryDirectory(prefix="cwp-gguf-output-") as folder:
        blocks()
        models(folder)
        tokenizers(folder)
        refusals(folder)
        real(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

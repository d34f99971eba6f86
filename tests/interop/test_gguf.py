#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""GGUF files of every family: each small reference model is written as GGUF and read back; names, shapes, values,
config.json as transformers understands it, transformers' own logits and cwp-inspect's are the checkpoint's. Scalings and
layer patterns that no reference model has, and blocks of all types against the gguf package. Exit 77 when something
needed is absent."""
import copy
import json
import os
import subprocess
import sys
import tempfile

from engines import GOLDEN, failures, find_python, load_model, need_golden, quiet, report, run_model

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
READ = os.path.join(BUILD, "tests", "interop", "read_gguf")
MODELS = ["llama31", "smollm2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "mixtral", "qwen2moe", "olmo2"]
# Keys without an effect on logits, and those of features that are off.
WITHOUT_EFFECT = {"initializer_range", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "attention_dropout",
    "embd_pdrop", "resid_pdrop", "router_aux_loss_coef", "output_router_logits", "router_jitter_noise", "max_window_layers",
    "_sliding_window_pattern", "sliding_window_pattern", "transformers_version", "_name_or_path", "pretraining_tp"}

LIMIT = 1e-4
ROUTERS = ("mlp.gate.weight", "moe.gate.weight", "shared_expert_gate.weight")

need_golden("llama31")
find_python()

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from safetensors.torch import load_file as load_torch  # noqa: E402

import gguf_models  # noqa: E402

quiet(1)


def read_back(path, folder):
    """What our reader makes of a file: a folder with config.json and model.safetensors."""
    out = tempfile.mkdtemp(dir=folder)
    subprocess.run([READ, "model", path, out], check=True)
    return out


def meaning(config, folder):
    """A configuration as transformers understands it, without what does not change logits."""
    if isinstance(config, dict):
        place = tempfile.mkdtemp(dir=folder)
        with open(os.path.join(place, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
        config = place
    found = transformers.AutoConfig.from_pretrained(config).to_dict()
    if not found.get("use_sliding_window", True):
        found.pop("sliding_window", None)
    if found["model_type"] in ("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "olmo2", "phi3"):
        found["head_dim"] = found.get("head_dim") or found["hidden_size"] // found["num_attention_heads"]
    rope = found["rope_parameters"]
    if "partial_rotary_factor" in rope:
        found.pop("partial_rotary_factor", None)  # the old place of the same
    if "rope_type" in rope:
        rope.pop("type", None)  # the old name of the same
    return {k: v for k, v in found.items() if k not in WITHOUT_EFFECT}


def same_meaning(what, config, out, folder):
    want, got = meaning(config, folder), meaning(out, folder)
    wrong = {k: (want.get(k), got.get(k)) for k in set(want) | set(got) if not alike(want.get(k), got.get(k))}
    report(what + ", configuration", not wrong, wrong or "%d keys" % len(want))


def alike(a, b):
    """Equal, but that GGUF keeps numbers as f32."""
    if isinstance(a, dict) and isinstance(b, dict):
        return all(alike(a.get(k), b.get(k)) for k in set(a) | set(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return np.float32(a) == np.float32(b)
    return a == b


def same_values(want, got, is_offset):
    if not is_offset:
        return got.dtype == want.dtype and np.array_equal(got.view(np.uint8), want.view(np.uint8))
    # 1 + w was rounded to f32 on the way: what norms compute with is the same bit for bit.
    one = np.float32(1)
    return np.array_equal(one + got, one + want) and np.abs(got - want).max() <= 2.0 ** -23


def same_tensors(what, config, want, got):
    names = sorted(set(want) ^ set(got))
    report(what + ", names", not names, names or "%d tensors" % len(got))
    gemma = config["model_type"].startswith("gemma")
    wrong = [n for n in want if n in got and (want[n].shape != got[n].shape or
        not same_values(want[n], got[n], gemma and n.endswith("norm.weight")))]
    report(what + ", values", not wrong, wrong or "equal")


def same_logits(what, name, out):
    golden = load_torch(os.path.join(GOLDEN, name, "golden.safetensors"))
    worst = (run_model(load_model(out), golden["input_ids"]) - golden["logits"]).abs().max().item()
    report(what + ", logits in transformers", worst <= 1e-5, "differ by %.2g" % worst)


def inspect_logits(path, ids, folder):
    out = os.path.join(folder, "logits.safetensors")
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", path, "--out", out], check=True, text=True,
        stdout=subprocess.DEVNULL, input="".join(json.dumps({"ids": i}) + "\n" for i in ids))
    found = load_file(out)
    return [found["logits.%d" % i] for i in range(len(ids))]


def same_engine(what, file, checkpoint, folder, ids, golden=None):
    """cwp-inspect on the file beside cwp-inspect on the checkpoint; the same bits."""
    a, b = inspect_logits(file, ids, folder), inspect_logits(checkpoint, ids, folder)
    worst = max(np.abs(x - y).max() for x, y in zip(a, b))
    report(what + ", logits of cwp-inspect", all(np.array_equal(x, y) for x, y in zip(a, b)), "differ by %.2g" % worst)
    if golden is not None:
        worst = max(np.abs(x - y).max() for x, y in zip(a, golden))
        report(what + ", logits of cwp-inspect beside the reference", worst <= LIMIT, "differ by %.2g" % worst)


def bf16(values):
    """Rounded to bf16, nearest even, and back."""
    return torch.from_numpy(np.ascontiguousarray(values)).bfloat16().float().numpy()


def rounded(tensors, kind):
    """What a checkpoint of these tensors is after quantization."""
    kind = gguf.GGMLQuantizationType[kind]
    for name, values in tensors.items():
        if values.ndim == 2 and gguf_models.fits(values, kind) and not name.endswith(ROUTERS):
            values = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
            values = values if kind == gguf.GGMLQuantizationType.F16 else bf16(values)
        yield name, values


def golden_models(folder):
    for name in MODELS:
        config, tensors = gguf_models.load(name)
        path = os.path.join(folder, name + ".gguf")
        gguf_models.write(path, config, tensors)
        out = read_back(path, folder)
        same_tensors(name, config, tensors, load_file(os.path.join(out, "model.safetensors")))
        same_meaning(name, config, out, folder)
        same_logits(name, name, out)
        golden = load_file(os.path.join(GOLDEN, name, "golden.safetensors"))
        same_engine(name, path, os.path.join(GOLDEN, name), folder, golden["input_ids"].tolist(), golden["logits"])
        for kind in ("F16", "BF16", "Q8_0", "Q5_1"):
            gguf_models.write(path, config, tensors, kind, split_experts=kind == "BF16")
            got = load_torch(os.path.join(read_back(path, folder), "model.safetensors"))
            same_tensors("%s as %s" % (name, kind), config, dict(rounded(tensors, kind)),
                {k: v.float().numpy() for k, v in got.items()})


def qwen3moe():
    """A model of this family, which no folder has: qwen2moe's without biases and shared experts, with head norms."""
    config, tensors = gguf_models.load("qwen2moe")
    config.update(model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], norm_topk_prob=True, head_dim=24,
        attention_bias=False)
    for key in ("shared_expert_intermediate_size", "qkv_bias", "layer_types"):
        config.pop(key)
    rng = np.random.default_rng(5)
    sizes = {"q_proj": (96, 64), "k_proj": (48, 64), "v_proj": (48, 64), "o_proj": (64, 96), "q_norm": (24,), "k_norm": (24,)}
    tensors = {k: v for k, v in tensors.items() if "shared_expert" not in k and "self_attn" not in k}
    for layer in range(config["num_hidden_layers"]):
        for part, shape in sizes.items():
            tensors["model.layers.%d.self_attn.%s.weight" % (layer, part)] = rng.normal(size=shape).astype(np.float32)
    return config, tensors


def biases():
    """Llama with all biases."""
    config, tensors = gguf_models.load("llama31")
    config.update(attention_bias=True, mlp_bias=True)
    rng = np.random.default_rng(7)
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        tensors[name.replace(".weight", ".bias")] = rng.normal(size=tensors[name].shape[0]).astype(np.float32)
    return config, tensors


def checkpoint(config, tensors, folder):
    place = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(place, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    save_file(tensors, os.path.join(place, "model.safetensors"), {"format": "pt"})
    return place


def head_dim_is(config, tensors):
    """Whether the tensors are those of the configuration's heads."""
    name = "model.layers.0.self_attn.q_proj.weight"
    return name not in tensors or tensors[name].shape[0] == config["num_attention_heads"] * gguf_models.head_dim(config)


def other_models(folder):
    path = os.path.join(folder, "other.gguf")
    for what, (config, tensors) in (("qwen3moe", qwen3moe()), ("llama with biases", biases())):
        gguf_models.write(path, config, tensors)
        out = read_back(path, folder)
        same_tensors(what, config, tensors, load_file(os.path.join(out, "model.safetensors")))
        same_meaning(what, config, out, folder)
        place = checkpoint(config, tensors, folder)
        ids = torch.arange(3, 60).reshape(1, -1)
        a, b = (run_model(load_model(p), ids) for p in (place, out))
        report(what + ", logits in transformers", torch.equal(a, b), "differ by %.2g" % (a - b).abs().max().item())
        same_engine(what, path, place, folder, ids.tolist(), a.numpy())


def change(name, rope=None, **keys):
    config, tensors = gguf_models.load(name)
    config = copy.deepcopy(config)
    config.update(keys)
    if rope:
        parameters = config["rope_parameters"]
        parameters.get("full_attention", parameters).update(rope)
    return config, tensors


def configurations(folder):
    """Scalings and patterns that change the arithmetic and that no reference model has."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    lists = {"rope_type": "longrope", "long_factor": [1.5, 2.25, 3.1, 4.0, 7.7, 9.0],
        "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.4]}
    llama3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}
    cases = {
        "llama, linear": change("smollm2", {"rope_type": "linear", "factor": 2.5}),
        "llama, llama3 from 8192": change("smollm2", llama3, head_dim=64),
        "llama, yarn": change("smollm2", yarn),
        "mistral, yarn": change("mistral", yarn, sliding_window=None, model_type="llama", architectures=["LlamaForCausalLM"]),
        "qwen2, yarn": change("qwen2", yarn),
        "qwen3, yarn with all keys": change("qwen3", dict(yarn, attention_factor=1.25, beta_fast=24.0, beta_slow=2.0)),
        "qwen2moe, yarn": change("qwen2moe", yarn),
        "olmo2, yarn": change("olmo2", yarn),
        "gemma2, uncapped, window": change("gemma2", attn_logit_softcapping=0.0, final_logit_softcapping=12.5, sliding_window=9),
        "gemma3, linear, 5 to 1": change("gemma3", {"rope_type": "linear", "factor": 8.0}, num_hidden_layers=12,
            layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 2, final_logit_softcapping=20.0),
        "gemma3, other base": change("gemma3", {"rope_theta": 777000.0}),
        "mixtral, window": change("mixtral", sliding_window=33),
        "phi3, window": change("phi3", sliding_window=47),
        "phi3, partial": change("phi3", {"partial_rotary_factor": 0.75}),
        "phi3, longrope": change("phi3", dict(lists, partial_rotary_factor=0.75, original_max_position_embeddings=32),
            original_max_position_embeddings=32),
        "phi3, longrope with its own factor": change("phi3",
            dict(lists, partial_rotary_factor=0.75, original_max_position_embeddings=32, attention_factor=1.75),
            original_max_position_embeddings=32),
    }
    path = os.path.join(folder, "changed.gguf")
    for what, (config, tensors) in cases.items():
        gguf_models.write(path, config, tensors)
        if config.get("attn_logit_softcapping") == 0:
            config["attn_logit_softcapping"] = None
        same_meaning(what, config, read_back(path, folder), folder)
        if config["num_hidden_layers"] == 2 and head_dim_is(config, tensors):
            ids = np.random.default_rng(8).integers(3, 500, (2, 100)).tolist()
            same_engine(what, path, checkpoint(config, tensors, folder), folder, ids)
    large = {"gemma2": 46, "gemma3": 62}
    for name, layers in large.items():
        config, tensors = change(name, num_hidden_layers=layers)
        period = 2 if name == "gemma2" else 6
        config["layer_types"] = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(layers)]
        gguf_models.write(path, config, {k: v for k, v in tensors.items() if "embed_tokens" in k})
        config["query_pre_attn_scalar"] = config["hidden_size"] // config["num_attention_heads"]
        same_meaning("%s of %d layers" % (name, layers), config, read_back(path, folder), folder)
    odd_factors(path, folder)


def odd_factors(path, folder):
    """Factors of frequencies that no parameters give are kept one by one."""
    config, tensors = gguf_models.load("smollm2")
    factors = np.array([1, 1.5, 1.25, 2, 3, 5, 4, 8], np.float32)
    gguf_models.write(path, config, tensors, extra=lambda writer: writer.add_tensor("rope_freqs.weight", factors))
    model = transformers.AutoModelForCausalLM.from_pretrained(read_back(path, folder), dtype=torch.float32).eval()
    rotary = model.model.rotary_emb
    want = 1 / (factors.astype(np.float64) * 100000.0 ** (np.arange(8) / 8))
    good = np.allclose(rotary.inv_freq.numpy(), want, rtol=1e-6, atol=0) and rotary.attention_scaling == 1
    report("llama, factors of its own", good, rotary.inv_freq.tolist())
    ids = np.random.default_rng(9).integers(3, 500, (2, 100))
    with torch.no_grad():
        reference = model(torch.from_numpy(ids)).logits.numpy()
    worst = max(np.abs(x - y).max() for x, y in zip(inspect_logits(path, ids.tolist(), folder), reference))
    report("llama, factors of its own, logits of cwp-inspect", worst <= LIMIT, "differ by %.2g" % worst)


def decode(kind, blocks):
    done = subprocess.run([READ, "decode", str(int(kind))], input=blocks.tobytes(), stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, np.float32)


def halves_of(name):
    """Where a block has f16 scales."""
    return {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
        "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}[name]


def blocks_of_types():
    rng = np.random.default_rng(11)
    special = np.array([0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00, 0x7c00, 0xfc00, 0x7e00], np.uint16)
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"):
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (600, size), np.uint8)
        blocks[:100], blocks[100:200] = 0, 255
        for place in halves_of(name):
            blocks[:500, place:place + 2] = rng.choice(special, 500).reshape(-1, 1).view(np.uint8)
            blocks[250:500, place:place + 2] = rng.normal(0, 0.02, (250, 1)).astype(np.float16).view(np.uint8)
        with np.errstate(all="ignore"):
            want = gguf.quants.dequantize(blocks, kind).ravel()
        got = decode(kind, blocks)
        known = ~np.isnan(want)
        good = len(got) == 600 * elements and np.array_equal(np.isnan(got), ~known) and \
            np.array_equal(got[known].view(np.uint32), want[known].view(np.uint32))
        report("%s, 600 blocks" % name, good and known.mean() > 0.5, "%d numbers, bit for bit" % known.sum())


def kquants_in_models(folder):
    """Matrices of 256 columns as Q6_K and others, which the gguf package cannot make: random blocks."""
    rng = np.random.default_rng(12)
    for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"):
        kind = gguf.GGMLQuantizationType[name]
        blocks = rng.integers(0, 256, (2, 3, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
        for place in halves_of(name):
            blocks[..., place:place + 2] = rng.normal(0, 0.02, (2, 3, 1)).astype(np.float16).view(np.uint8)
        config, tensors = gguf_models.load("mixtral")
        path = os.path.join(folder, "k.gguf")
        config.update(num_local_experts=2, num_hidden_layers=1)
        gguf_models.write(path, config, {k: v for k, v in tensors.items() if "embed_tokens" in k}, extra=lambda writer:
            writer.add_tensor("blk.0.ffn_up_exps.weight", blocks, raw_dtype=kind))  # pylint: disable=cell-var-from-loop
        got = load_torch(os.path.join(read_back(path, folder), "model.safetensors"))
        want = bf16(gguf.quants.dequantize(blocks, kind))
        found = [got["model.layers.0.block_sparse_moe.experts.%d.w3.weight" % e] for e in range(2)]
        good = all(f.dtype == torch.bfloat16 and np.array_equal(f.float().numpy(), want[e]) for e, f in enumerate(found))
        report("experts as %s" % name, good, "equal after rounding")


def main():
    with tempfile.TemporaryDirectory(prefix="cwp-gguf-") as folder:
        golden_models(folder)
        other_models(folder)
        configurations(folder)
        blocks_of_types()
        kquants_in_models(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

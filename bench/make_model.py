#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Writes a Llama or Qwen2 model of a given shape: config.json and one model.safetensors in bf16, or several files.

    bench/make_model.py DIR [--shape llama-70b|llama-8b|smollm2|llama-1.6gb|qwen2-7b] [--layers N] [--weights sparse|random] [--seed N]
        [--samples NAME=COUNTxLENGTH,..]

sparse: norms are ones and all else is a hole of the file, which takes no room on disk: enough for plans. random: normal
numbers (deviation 0.02) from a pool of a million, which begins elsewhere in each matrix: enough for running. --samples adds
sets of random tokens, DIR/NAME.jsonl, for `data: samples`. The same arguments give the same bytes. Standard library only.
"""
import argparse
import array
import json
import os
import random
import struct
import sys

# Where scripts/packages puts real models and the environment for Python.
CACHE = os.environ.get("CWP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cwp")
SHAPES = {
    "llama-70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192, "rope_theta": 500000.0,
        "tie_word_embeddings": False},
    "llama-8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192, "rope_theta": 500000.0,
        "tie_word_embeddings": False},
    "smollm2": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100000.0,
        "tie_word_embeddings": True},
}
SHAPES["llama-1.6gb"] = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 11, "num_attention_heads": 16,
    "num_key_value_heads": 16, "vocab_size": 32000, "max_position_embeddings": 4096, "rope_theta": 10000.0,
    "tie_word_embeddings": True}
SHAPES["qwen2-7b"] = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 32768,
    "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "tie_word_embeddings": False, "use_sliding_window": False}
POOL = 1048583  # a prime, so that no two rows are alike


def configuration(shape, layers):
    config = dict({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "rms_norm_eps": 1e-05, "torch_dtype": "bfloat16", "bos_token_id": 1,
        "eos_token_id": 2}, **SHAPES[shape])
    if config["model_type"] == "qwen2":
        del config["attention_bias"], config["mlp_bias"]
    if layers:
        config["num_hidden_layers"] = layers
    return config


def tensors(config):
    """(name, shape) of all tensors in the file's order."""
    d, wide, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    kv = d // heads * config["num_key_value_heads"]
    found = [("model.embed_tokens.weight", [config["vocab_size"], d])]
    for layer in range(config["num_hidden_layers"]):
        p = "model.layers.%d." % layer
        found += [(p + "input_layernorm.weight", [d]), (p + "self_attn.q_proj.weight", [d, d]),
            (p + "self_attn.k_proj.weight", [kv, d]), (p + "self_attn.v_proj.weight", [kv, d]),
            (p + "self_attn.o_proj.weight", [d, d]), (p + "post_attention_layernorm.weight", [d]),
            (p + "mlp.gate_proj.weight", [wide, d]), (p + "mlp.up_proj.weight", [wide, d]),
            (p + "mlp.down_proj.weight", [d, wide])]
        if config["model_type"] == "qwen2":
            found += [(p + "self_attn.%s_proj.bias" % name, [rows]) for name, rows in (("q", d), ("k", kv), ("v", kv))]
    found.append(("model.norm.weight", [d]))
    if not config["tie_word_embeddings"]:
        found.append(("lm_head.weight", [config["vocab_size"], d]))
    return found


def elements(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def bf16(values):
    """The upper halves of f32 numbers, low byte first."""
    data = struct.pack("<%df" % len(values), *values)
    half = array.array("H", data)
    return half[1::2].tobytes()


def random_pool(seed):
    rng = random.Random(seed)
    return bf16([rng.gauss(0, 0.02) for _ in range(POOL)])


def write_matrix(f, pool, rng, count):
    at = rng.randrange(POOL)
    while count > 0:
        n = min(count, POOL - at)
        f.write(memoryview(pool)[2 * at:2 * (at + n)])
        count -= n
        at = 0


def write_file(path, part, pool, rng):
    """One file of tensors; pool: None for holes."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in part:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * elements(shape)]}
        at += 2 * elements(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in part:
            f.seek(8 + len(text) + header[name]["data_offsets"][0])
            if len(shape) == 1:
                f.write(bf16([0.0 if name.endswith(".bias") else 1.0] * shape[0]))
            elif pool is not None:
                write_matrix(f, pool, rng, elements(shape))
        f.truncate(8 + len(text) + at)


def cut(all_tensors, shard):
    """Tensors in files of at most so many bytes, but for larger ones alone; 0: one file."""
    parts, used = [[]], 0
    for name, shape in all_tensors:
        if shard and used and used + 2 * elements(shape) > shard:
            parts.append([])
            used = 0
        parts[-1].append((name, shape))
        used += 2 * elements(shape)
    return parts


def write_weights(folder, config, weights, seed, shard):
    pool, rng = random_pool(seed) if weights == "random" else None, random.Random(seed + 1)
    parts = cut(tensors(config), shard)
    if len(parts) == 1:
        write_file(os.path.join(folder, "model.safetensors"), parts[0], pool, rng)
        return
    index = {"metadata": {"total_size": sum(2 * elements(shape) for _, shape in tensors(config))}, "weight_map": {}}
    for i, part in enumerate(parts):
        name = "model-%05d-of-%05d.safetensors" % (i + 1, len(parts))
        write_file(os.path.join(folder, name), part, pool, rng)
        index["weight_map"].update((tensor, name) for tensor, _ in part)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="ascii") as f:
        json.dump(index, f)


def write_samples(path, count, length, vocabulary, seed):
    rng = random.Random(seed)
    with open(path, "w", encoding="ascii") as f:
        for group in range(count):
            ids = [rng.randrange(3, vocabulary) for _ in range(length)]
            f.write(json.dumps({"ids": ids, "weights": [0] + [1 / (length - 1)] * (length - 1), "group": group}) + "\n")


def make(folder, shape, layers=0, weights="random", seed=0, samples=(), shard=0):
    """samples: (name, count, length) of each set; shard: bytes of a file at most, 0: one file."""
    os.makedirs(folder, exist_ok=True)
    config = configuration(shape, layers)
    write_weights(folder, config, weights, seed, shard)
    with open(os.path.join(folder, "config.json"), "w", encoding="ascii") as f:
        json.dump(config, f, indent=1)
    for i, (name, count, length) in enumerate(samples):
        write_samples(os.path.join(folder, name + ".jsonl"), count, length, config["vocab_size"], seed + 100 + i)


def set_of(text):
    try:
        name, size = text.split("=")
        count, length = map(int, size.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError("%s is not NAME=COUNTxLENGTH" % text) from None
    if count < 1 or length < 2:
        raise argparse.ArgumentTypeError("%s: at least one sample of at least two tokens" % text)
    return name, count, length


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--shape", choices=SHAPES, default="llama-70b")
    parser.add_argument("--layers", type=int, default=0, help="0: as many as the shape has")
    parser.add_argument("--weights", choices=("sparse", "random"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=lambda t: [set_of(s) for s in t.split(",")], default=[])
    options = parser.parse_args()
    if options.layers < 0:
        parser.error("--layers: at least 0")
    make(options.folder, options.shape, options.layers, options.weights, options.seed, options.samples)
    stat = os.stat(os.path.join(options.folder, "model.safetensors"))
    print("%s: %.1f GB, %.1f GB on disk" % (options.folder, stat.st_size / 1e9, stat.st_blocks * 512 / 1e9))


if __name__ == "__main__":
    sys.exit(main())

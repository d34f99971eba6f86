# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Writes Hugging Face checkpoints as GGUF files, with the names of the gguf package and with what llama.cpp's converter
does to values: rows of queries and keys in turns (llama), 1 + w (Gemma), experts on top of each other."""
import json
import math
import os
import re

import gguf
import numpy as np
from safetensors.numpy import load_file

from engines import GOLDEN

ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "mixtral": "LLAMA", "qwen2": "QWEN2", "qwen2_moe": "QWEN2MOE",
    "qwen3": "QWEN3", "qwen3_moe": "QWEN3MOE", "gemma": "GEMMA", "gemma2": "GEMMA2", "gemma3_text": "GEMMA3", "phi3": "PHI3",
    "olmo2": "OLMO2"}
EXPERT = re.compile(r"model\.layers\.(\d+)\.(block_sparse_moe|mlp)\.experts\.(\d+)\.(\w+)\.weight")
EXPERT_NAMES = {"w1": "gate", "gate_proj": "gate", "w2": "down", "down_proj": "down", "w3": "up", "up_proj": "up"}


def load(name):
    """The configuration and the tensors of a small reference model."""
    folder = os.path.join(GOLDEN, name)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        return json.load(f), load_file(os.path.join(folder, "model.safetensors"))


def rope_of(config):
    """The rotary embedding of layers without a window, in the new spelling."""
    rope = config["rope_parameters"]
    return rope.get("full_attention", rope)


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def add_rope(writer, config, family):
    rope = rope_of(config)
    if family not in ("gemma", "gemma2"):
        writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        for key, add in (("attention_factor", writer.add_rope_scaling_yarn_attn_factor),
                ("beta_fast", writer.add_rope_scaling_yarn_beta_fast), ("beta_slow", writer.add_rope_scaling_yarn_beta_slow)):
            if key in rope:
                add(rope[key])
    if rope["rope_type"] == "longrope":
        first, now = config["original_max_position_embeddings"], config["max_position_embeddings"]
        usual = math.sqrt(1 + math.log(now / first) / math.log(first))
        writer.add_rope_scaling_attn_factors(rope.get("attention_factor") or usual)
        for kind in ("long", "short"):
            writer.add_tensor("rope_factors_%s.weight" % kind, np.array(rope[kind + "_factor"], np.float32))
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim(config)))


def llama3_factors(rope, dim):
    """How much longer the wave of each frequency becomes."""
    waves = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    low, high, first = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    smooth = np.clip((first / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def add_keys(writer, config, family):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    for key, name in (("bos", "bos"), ("eos", "eos"), ("pad", "pad")):
        if isinstance(config.get(key + "_token_id"), int):
            getattr(writer, "add_%s_token_id" % name)(config[key + "_token_id"])
    if config.get("head_dim") and family != "phi3":
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if ARCHITECTURES[family] == "LLAMA":
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(head_dim(config))
    if family == "phi3":
        share = rope_of(config).get("partial_rotary_factor", 1.0)
        writer.add_rope_dimension_count(int(share * config["hidden_size"]) // config["num_attention_heads"])
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        writer.add_sliding_window(config.get("sliding_window") or 0)
    elif family in ("mistral", "mixtral", "gemma2", "gemma3_text") and config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if family == "gemma3_text":
        add_gemma3(writer, config)
    if ARCHITECTURES[family] in ("QWEN2MOE", "QWEN3MOE") or family == "mixtral":
        add_experts(writer, config)
    add_rope(writer, config, family)


def add_gemma3(writer, config):
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    writer.add_rope_freq_base_swa(config["rope_parameters"]["sliding_attention"]["rope_theta"])
    usual = [bool((i + 1) % 6) for i in range(config["num_hidden_layers"])]
    layers = [t == "sliding_attention" for t in config["layer_types"]]
    if layers != usual:
        writer.add_sliding_window_pattern(layers)


def add_experts(writer, config):
    writer.add_expert_count(config.get("num_local_experts") or config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def in_turns(rows, heads):
    """The two rotary halves of each head, row by row."""
    shape = rows.shape
    return rows.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(shape)


class Names:
    def __init__(self, config, split_experts):
        self.family = config["model_type"]
        self.config = config
        self.split = split_experts
        self.arch = gguf.MODEL_ARCH[ARCHITECTURES[self.family]]
        self.map = gguf.get_tensor_name_map(self.arch, config["num_hidden_layers"])

    def convert(self, tensors):
        """Pairs of a name and f32 values, of GGUF."""
        stacks = {}
        for name, values in tensors.items():
            expert = EXPERT.fullmatch(name)
            if expert:
                layer, number, kind = expert.group(1), int(expert.group(3)), EXPERT_NAMES[expert.group(4)]
                if self.split:
                    yield "blk.%s.ffn_%s.%d.weight" % (layer, kind, number), values
                else:
                    stacks.setdefault("blk.%s.ffn_%s_exps.weight" % (layer, kind), {})[number] = values
                continue
            found = self.map.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found, name
            yield found, self.change(name, values)
        for name, stack in stacks.items():
            yield name, np.stack([stack[i] for i in range(len(stack))])

    def change(self, name, values):
        if self.arch == gguf.MODEL_ARCH.LLAMA and ".q_proj." in name:
            return in_turns(values, self.config["num_attention_heads"])
        if self.arch == gguf.MODEL_ARCH.LLAMA and ".k_proj." in name:
            return in_turns(values, self.config["num_key_value_heads"])
        if self.family.startswith("gemma") and name.endswith("norm.weight"):
            return values + np.float32(1)
        return values.squeeze(0) if name.endswith("shared_expert_gate.weight") else values


def fits(values, kind):
    return values.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0


def write(path, config, tensors, kind="F32", split_experts=False, extra=None):
    """kind: the type of all matrices that it can hold but the router's, others are F32. extra(writer) adds something."""
    names = Names(config, split_experts)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[names.arch])
    add_keys(writer, config, config["model_type"])
    if extra:
        extra(writer)
    kind = gguf.GGMLQuantizationType[kind]
    for name, values in names.convert(tensors):
        if values.ndim == 1 or "ffn_gate_inp" in name or not fits(values, kind):
            writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
        else:
            writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(values, np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

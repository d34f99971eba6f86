#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What cwe_arch_read makes of a config.json, against the modules that transformers builds from the same file: the golden
models in both spellings, each key absent or changed, public models' spellings, and every scaling of rotary embeddings.
Exit 77 when something needed is absent."""
import copy
import json
import os
import subprocess
import sys
import tempfile

from engines import find_python, skip

LIMIT = 1e-6  # relative, on frequencies and scales

find_python()

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # noqa: E402

transformers.logging.set_verbosity(transformers.logging.CRITICAL)

BY_LAYER = ("qwen2", "qwen3", "gemma2", "gemma3_text", "qwen2_moe", "ministral")
BY_WINDOW = ("mistral", "phi3", "mixtral", "qwen3_moe")


def old_spelling(config):
    """The keys that checkpoints had before rope_parameters and layer_types."""
    old = copy.deepcopy(config)
    rope = old.pop("rope_parameters")
    if old["model_type"] == "gemma3_text":
        old["rope_theta"] = rope["full_attention"].pop("rope_theta")
        old["rope_local_base_freq"] = rope["sliding_attention"].pop("rope_theta")
        old["sliding_window_pattern"] = old["num_hidden_layers"]
        rope = rope["full_attention"]
    else:
        old["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    old["rope_scaling"] = None
    if rope["rope_type"] != "default":
        old["rope_scaling"] = rope
    old.pop("layer_types", None)
    old["torch_dtype"] = old.pop("dtype")
    return old


class Cases:
    """Configurations by name; read one after another by one call of the program."""

    def __init__(self):
        self.list = []

    def add(self, name, config, **changes):
        config = copy.deepcopy(config)
        for key, value in changes.items():
            if value == "absent":
                config.pop(key, None)
            else:
                config[key] = value
        self.list.append((name, config))


def scalings(cases, golden):
    """Every kind of rotary embedding, in both spellings, with and without the keys that may be absent."""
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    kinds = {"default": {"rope_type": "default"}, "linear": {"rope_type": "linear", "factor": 2.5}, "llama3": llama3,
             "llama3-wide": {**llama3, "factor": 32.0, "low_freq_factor": 0.7, "original_max_position_embeddings": 8192},
             "yarn": yarn, "yarn-32k": {**yarn, "original_max_position_embeddings": 32768},
             "yarn-betas": {**yarn, "beta_fast": 20, "beta_slow": 2}, "yarn-zeros": {**yarn, "beta_fast": 0, "mscale": 0},
             "yarn-mscale": {**yarn, "mscale": 1.2, "mscale_all_dim": 0.7}, "yarn-half": {**yarn, "mscale": 1.2},
             "yarn-factor": {**yarn, "attention_factor": 0.8}, "yarn-exact": {**yarn, "truncate": False},
             "yarn-null": {**yarn, "factor": None}, "yarn-small": {**yarn, "factor": 0.5},
             "yarn-exact-32k": {**yarn, "original_max_position_embeddings": 32768, "truncate": False},
             "yarn-far": {**yarn, "rope_theta": 1e4, "original_max_position_embeddings": 131072}}
    for model in ("llama31", "qwen2", "qwen3", "mistral", "mixtral", "olmo2", "gemma", "gemma2", "qwen2moe"):
        for kind, rope in kinds.items():
            for dim in (16, 48, 128):
                name = f"{model} {kind} {dim}"
                cases.add(name, golden[model], head_dim=dim, rope_parameters={"rope_theta": 5e5, **rope})
            cases.add(name + " old", golden[model], rope_parameters="absent", rope_theta=5e5, head_dim=dim,
                      rope_scaling={("type" if k == "rope_type" else k): v for k, v in rope.items()})
    short = [1 + 0.05 * i for i in range(8)]
    long = [1.5 + 3.1 * i for i in range(8)]
    longrope = {"rope_type": "longrope", "short_factor": short, "long_factor": long, "rope_theta": 10000.0}
    phi = golden["phi3"]
    for kind in ("longrope", "su", "yarn"):
        rope = {**longrope, "rope_type": kind}
        # With "su" transformers wants the nested key, and then takes the one beside it.
        if kind == "su":
            rope["original_max_position_embeddings"] = 64
        cases.add(f"phi3 {kind}", phi, rope_parameters=rope, max_position_embeddings=131072)
        rope = {**rope, "type": kind}
        del rope["rope_type"], rope["rope_theta"]
        cases.add(f"phi3 {kind} old", phi, rope_parameters="absent", rope_theta=20000.0, rope_scaling=rope,
                  max_position_embeddings=131072, original_max_position_embeddings=8192)
    cases.add("phi3 longrope nested original", phi, original_max_position_embeddings="absent",
              rope_parameters={**longrope, "original_max_position_embeddings": 64}, max_position_embeddings=16384)
    cases.add("phi3 longrope factor", phi, rope_parameters={**longrope, "factor": 3.0})
    cases.add("phi3 longrope attention", phi, rope_parameters={**longrope, "attention_factor": 1.4})
    cases.add("phi3 longrope short context", phi, rope_parameters=longrope, max_position_embeddings=2048)
    cases.add("phi3 partial", phi, head_dim=32, rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.75})
    cases.add("phi3 partial old", phi, num_attention_heads=2, num_key_value_heads=1, rope_parameters="absent",
              rope_theta=1e4, partial_rotary_factor=0.75)
    cases.add("phi3 partial longrope", phi, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=131072,
              rope_parameters={**longrope, "partial_rotary_factor": 0.5})
    cases.add("qwen2 longrope", golden["qwen2"], rope_parameters={**longrope, "original_max_position_embeddings": 64})
    cases.add("llama top original", golden["llama31"], original_max_position_embeddings=32)
    gemma = golden["gemma3"]
    cases.add("gemma3 linear", gemma, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})
    cases.add("gemma3 both linear", gemma, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
        "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 3e4}})
    cases.add("gemma3 yarn", gemma, rope_parameters={
        "full_attention": {**yarn, "truncate": False}, "sliding_attention": None})
    cases.add("gemma3 original beside", gemma, original_max_position_embeddings=32, rope_parameters={
        "full_attention": {**yarn, "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default"}})
    cases.add("gemma3 old linear", gemma, rope_parameters="absent", rope_theta=5e5, rope_local_base_freq=3e4,
              rope_scaling={"rope_type": "linear", "factor": 4.0})
    cases.add("gemma3 old over new", gemma, rope_theta=5e5, rope_scaling={"rope_type": "linear", "factor": 4.0})
    cases.add("qwen2 old over new", golden["qwen2"], rope_theta=5e5, rope_scaling={"type": "linear", "factor": 4.0})
    cases.add("qwen2 empty old", golden["qwen2"], rope_theta=5e5, rope_scaling={})


def keys(cases, golden):
    """Each key absent, and each that a family reads with another value."""
    absent = ("num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings", "hidden_act", "hidden_activation",
              "attention_bias", "mlp_bias", "sliding_window", "layer_types", "rope_parameters", "query_pre_attn_scalar",
              "attn_logit_softcapping", "final_logit_softcapping", "num_experts", "num_local_experts",
              "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size", "norm_topk_prob",
              "decoder_sparse_step", "mlp_only_layers", "qkv_bias", "max_window_layers", "use_sliding_window",
              "max_position_embeddings", "architectures", "original_max_position_embeddings")
    for model, config in golden.items():
        base = {**config, "num_attention_heads": 32, "num_key_value_heads": 4, "hidden_size": 512, "num_hidden_layers": 7,
                "num_experts": 64, "num_local_experts": 64}
        for key in ("num_experts", "num_local_experts"):
            if key not in config:
                base.pop(key)
        base.pop("layer_types", None)
        cases.add(f"{model} seven layers", base)
        for key in absent:
            if key in base:
                cases.add(f"{model} no {key}", base, **{key: "absent"})
        for key in ("attention_bias", "mlp_bias", "qkv_bias", "norm_topk_prob"):
            if key in base:
                cases.add(f"{model} {key}", base, **{key: not base[key]})
        cases.add(f"{model} tie", base, tie_word_embeddings=not base["tie_word_embeddings"])
        cases.add(f"{model} eps", base, rms_norm_eps=3e-4)
        cases.add(f"{model} theta absent", base, rope_parameters="absent", rope_theta=4321.0)
        if model in ("llama31", "smollm2", "phi3", "olmo2", "qwen2", "qwen3"):
            cases.add(f"{model} kv null", base, num_key_value_heads=None)
        if model in ("mistral", "mixtral", "phi3"):
            cases.add(f"{model} window null", base, sliding_window=None)
            cases.add(f"{model} window", base, sliding_window=5)
        if "use_sliding_window" in base:
            for first in (0, 3, 28):
                cases.add(f"{model} window from {first}", base, use_sliding_window=True, sliding_window=6,
                          max_window_layers=first)
        mixed = [("sliding" if i in (1, 2, 5) else "full") + "_attention" for i in range(7)]
        if model in ("mistral", "qwen2", "qwen3", "gemma2", "gemma3", "qwen2moe"):
            cases.add(f"{model} layer_types", base, layer_types=mixed, use_sliding_window=True, sliding_window=6)
    gemma = {**golden["gemma3"], "num_hidden_layers": 13, "sliding_window_pattern": 4}
    cases.add("gemma3 pattern", gemma, layer_types="absent")
    cases.add("gemma3 caps", golden["gemma3"], final_logit_softcapping=12.5)
    cases.add("gemma2 caps", golden["gemma2"], final_logit_softcapping=None, attn_logit_softcapping=None)
    cases.add("gemma2 scalar", golden["gemma2"], query_pre_attn_scalar=144)
    cases.add("gemma gelu", golden["gemma"], hidden_act="gelu")
    moe = {**golden["qwen2moe"], "num_hidden_layers": 7, "layer_types": "absent"}
    cases.add("qwen2moe dense", moe, **{"layer_types": "absent", "mlp_only_layers": [0, 4], "decoder_sparse_step": 2})
    moe3 = {**{k: v for k, v in moe.items() if not k.startswith(("shared", "qkv", "layer_types"))},
            "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "head_dim": 32, "sliding_window": 8}
    cases.add("qwen3moe", moe3)
    cases.add("qwen3moe no head_dim", moe3, head_dim="absent")
    cases.add("qwen3moe window", moe3, use_sliding_window=True)
    cases.add("qwen3moe bias", moe3, attention_bias=True)
    cases.add("qwen3moe other key", moe3, num_experts="absent", num_local_experts=16)
    for key in ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob", "decoder_sparse_step",
                "mlp_only_layers", "intermediate_size", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings"):
        cases.add(f"qwen3moe no {key}", moe3, **{"num_experts": 64, "num_attention_heads": 8, "hidden_size": 256,
                                                 key: "absent"})
    cases.add("mixtral other key", golden["mixtral"], num_local_experts="absent", num_experts=3)


def public_models(cases, golden):
    """Configurations as published models have them, smaller where a number does not matter."""
    layers = {"num_hidden_layers": 4, "vocab_size": 1024}
    cases.add("llama 1", {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", **layers,
                          "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "rms_norm_eps": 1e-6})
    cases.add("mistral 7b", {"model_type": "mistral", "architectures": ["MistralForCausalLM"], **layers,
                             "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
                             "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096})
    cases.add("qwen2.5", {"model_type": "qwen2", **layers, "hidden_size": 3584, "intermediate_size": 18944,
                          "num_attention_heads": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
                          "max_position_embeddings": 32768, "max_window_layers": 28, "sliding_window": 131072,
                          "use_sliding_window": False, "tie_word_embeddings": False, "rope_scaling": {
                              "factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}})
    cases.add("gemma 7b", {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_act": "gelu", **layers,
                           "hidden_size": 3072, "intermediate_size": 24576, "num_attention_heads": 16,
                           "num_key_value_heads": 16, "head_dim": 256, "rope_theta": 10000.0, "rope_scaling": None})
    cases.add("gemma 2 27b", {"model_type": "gemma2", **layers, "hidden_size": 4608, "intermediate_size": 36864,
                              "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
                              "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 144, "rope_theta": 10000.0})
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    cases.add("gemma 3 4b", {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                             "text_config": text, "vision_config": {"model_type": "siglip_vision_model"}})
    mistral = {"model_type": "mistral", "hidden_act": "silu", "head_dim": 128, "hidden_size": 5120, **layers,
               "intermediate_size": 32768, "num_attention_heads": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
               "rope_theta": 1e9, "sliding_window": None, "max_position_embeddings": 131072}
    outer = {"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"], "text_config": mistral}
    cases.add("mistral small 3.1", outer)
    cases.add("mistral small 3.1 untied", outer, tie_word_embeddings=False)
    del mistral["model_type"]
    cases.add("mistral small 3.1 no inner type", outer)
    cases.add("phi 4 mini", {"model_type": "phi3", **layers, "hidden_size": 3072, "intermediate_size": 8192,
                             "num_attention_heads": 24, "num_key_value_heads": 8, "partial_rotary_factor": 0.75,
                             "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
                             "attention_bias": False, "mlp_bias": False, "rms_norm_eps": 1e-5, "sliding_window": 262144,
                             "tie_word_embeddings": True, "pad_token_id": 0, "rope_theta": 10000.0, "rope_scaling": {
                                 "type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.1] * 48}})
    cases.add("mixtral 8x7b", {"model_type": "mixtral", **layers, "hidden_size": 4096, "intermediate_size": 14336,
                               "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8,
                               "num_experts_per_tok": 2, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "sliding_window": None})
    cases.add("qwen 3 30b", {"model_type": "qwen3_moe", **layers, "hidden_size": 2048, "intermediate_size": 6144,
                             "moe_intermediate_size": 768, "num_attention_heads": 32, "num_key_value_heads": 4,
                             "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
                             "max_window_layers": 48, "use_sliding_window": False, "sliding_window": None,
                             "mlp_only_layers": [], "rope_theta": 1e6, "rms_norm_eps": 1e-6})


def build(folder):
    """The configuration of the text model, its modules without weights, and the outer configuration."""
    outer = transformers.AutoConfig.from_pretrained(folder)
    config = outer.get_text_config()
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return outer, config, model


def norm_offset(norm):
    """1 where a weight of zero multiplies by one."""
    probe = type(norm)(4)
    with torch.no_grad():
        probe.weight.zero_()
        return float(probe(torch.ones(1, 4))[0, 0] > 0.5)


def ropes(config, model):
    """Frequencies, their extended ones and the scale, for layers that see everything and for sliding ones."""
    rotary = type(model.model.rotary_emb)(config)
    nested = isinstance(rotary.rope_type, dict)
    result = []
    for kind in ("full_attention", "sliding_attention"):
        if nested and kind not in config.layer_types:
            result.append(None)
            continue
        prefix = kind + "_" if nested else ""
        usual = getattr(rotary, prefix + "inv_freq")
        scale = getattr(rotary, prefix + "attention_scaling")
        extended = usual
        if (rotary.rope_type[kind] if nested else rotary.rope_type) == "longrope":
            parameters = config.rope_parameters[kind] if nested else config.rope_parameters
            extended, _ = ROPE_INIT_FUNCTIONS["longrope"](config, seq_len=parameters[
                "original_max_position_embeddings"] + 1)
        result.append({"inverse": usual.tolist(), "extended": extended.tolist(), "attention_factor": float(scale)})
    return result


def describe_moe(layers):
    for layer in layers:
        if hasattr(layer.mlp, "experts"):
            experts, gate = layer.mlp.experts, layer.mlp.gate
            shared = getattr(layer.mlp, "shared_expert", None)
            return {"experts": experts.gate_up_proj.shape[0], "intermediate": experts.gate_up_proj.shape[1] // 2,
                    "top_k": gate.top_k, "normalize": getattr(gate, "norm_topk_prob", True),
                    "shared": shared.gate_proj.weight.shape[0] if shared is not None else 0}
    return None


def describe(outer, config, model):
    """As the program prints it, but from the modules."""
    layers = model.model.layers
    attention = layers[0].self_attn
    kind = config.model_type
    fused = hasattr(attention, "qkv_proj")
    heads = config.num_attention_heads
    head_dim = attention.head_dim
    wide = attention.qkv_proj if fused else attention.q_proj
    norms = {n for n, m in layers[0].named_modules() if type(m).__name__.endswith("RMSNorm")}
    dense = [layer.mlp for layer in layers if not hasattr(layer.mlp, "experts")]
    act = (dense[0] if dense else layers[0].mlp.experts)
    act = getattr(act, "act_fn", None) or act.activation_fn
    gate = dense[0].gate_up_proj if dense and fused else dense[0].gate_proj if dense else None
    if kind in BY_LAYER:
        sliding = [t == "sliding_attention" for t in config.layer_types]
    else:
        sliding = [kind in BY_WINDOW and config.sliding_window is not None] * len(layers)
    result = {
        "family": "mistral" if kind == "ministral" else kind, "wrapped": outer is not config, "layers": len(layers),
        "hidden": wide.weight.shape[1], "heads": heads, "head_dim": head_dim, "vocabulary": model.lm_head.weight.shape[0],
        "kv_heads": (attention.qkv_proj.weight.shape[0] // head_dim - heads) // 2 if fused
        else attention.k_proj.weight.shape[0] // head_dim,
        "context": config.max_position_embeddings, "window": config.sliding_window if any(sliding) else 0,
        "activation": {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_pytorch_tanh"}[type(act).__name__],
        "norm_offset": norm_offset(model.model.norm), "attention_scale": attention.scaling,
        "norm_eps": getattr(model.model.norm, "variance_epsilon", None) or model.model.norm.eps,
        "embedding_scale": getattr(model.model.embed_tokens, "scalar_embed_scale", 1.0),
        "attention_softcap": (attention.attn_logit_softcapping or 0.0) if kind == "gemma2" else 0.0,
        "logit_softcap": getattr(config, "final_logit_softcapping", None) or 0.0, "tied": outer.tie_word_embeddings,
        "bias_qkv": wide.bias is not None, "bias_o": attention.o_proj.bias is not None,
        "bias_mlp": gate is not None and gate.bias is not None, "fused": fused,
        "sliding": sliding, "sparse": [hasattr(layer.mlp, "experts") for layer in layers], "norms": norms,
        "rope": ropes(config, model), "moe": describe_moe(layers)}
    if dense:
        result["intermediate"] = dense[0].down_proj.weight.shape[1]
    if "self_attn.q_norm" in norms:
        result["norm_heads"] = attention.q_norm.weight.shape[0] == head_dim
    return result


def differs(ours, theirs):
    if isinstance(theirs, float) or isinstance(ours, float):
        return abs(ours - theirs) > LIMIT * abs(theirs)
    if isinstance(theirs, list):
        return len(ours) != len(theirs) or any(differs(a, b) for a, b in zip(ours, theirs))
    return ours != theirs


def compare(ours, theirs):
    """Names of what differs."""
    if "error" in ours:
        return [ours["error"]]
    ours["norms"] = {n for n in ours["norm"].values() if n}
    rope, moe = theirs.pop("rope"), theirs.pop("moe")
    wrong = [f"{k} {ours[k]} not {v}" for k, v in theirs.items() if differs(ours[k], v)]
    for i, r in enumerate(rope):
        wrong += [f"rope[{i}].{k}" for k, v in (r or {}).items() if differs(ours["rope"][i][k], v)]
    if moe is not None:
        wrong += [f"moe.{k} {ours['moe'][k]} not {v}" for k, v in moe.items() if differs(ours["moe"][k], v)]
    return wrong


def read_all(tool, folder, cases):
    paths = []
    for i, (_, config) in enumerate(cases):
        path = os.path.join(folder, str(i))
        os.mkdir(path)
        paths.append(path)
        with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
    text = "".join(os.path.join(p, "config.json") + "\n" for p in paths)
    out = subprocess.run([tool], input=text, stdout=subprocess.PIPE, check=True, text=True).stdout
    return paths, [json.loads(line) for line in out.splitlines()]


def main():
    shared = os.environ.get("CWP_SHARED", "")
    tool = os.path.join(os.environ.get("CWP_BUILDDIR", "."), "tests", "interop", "print_arch")
    if not os.path.isdir(os.path.join(shared, "golden", "llama31")):
        skip("no reference models below CWP_SHARED")
    if not os.access(tool, os.X_OK):
        skip(f"{tool} is not built")
    golden, cases = {}, Cases()
    for name in ("llama31", "smollm2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "mixtral",
                 "qwen2moe", "olmo2"):
        with open(os.path.join(shared, "golden", name, "config.json"), encoding="utf-8") as file:
            golden[name] = json.load(file)
        cases.add(f"{name} given", golden[name])
        cases.add(f"{name} old", old_spelling(golden[name]))
    pairs = len(cases.list)
    scalings(cases, golden)
    keys(cases, golden)
    public_models(cases, golden)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cwp-interop-") as folder:
        paths, ours = read_all(tool, folder, cases.list)
        for i in range(0, pairs, 2):
            if ours[i] != ours[i + 1]:
                failed += 1
                print("FAIL", cases.list[i][0], "and old differ")
        for (name, _), path, mine in zip(cases.list, paths, ours):
            try:
                wrong = compare(mine, describe(*build(path)))
            except Exception as e:  # a case that transformers does not build shows nothing
                wrong = [f"transformers: {type(e).__name__}: {str(e)[:200]}"]
            if wrong:
                failed += 1
                print("FAIL", name, "; ".join(wrong)[:500])
    print(f"{len(cases.list)} configurations, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

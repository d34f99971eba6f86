#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Small random models that transformers makes, one for each thing that a family adds to the arithmetic: cwp-inspect gives
the logits, greedy tokens and statistics of every parameter that transformers and PyTorch give, in float32. Sequences of
unequal lengths go through together, one of a single token, and one longer than every window and original context. Exit
77 when something needed is absent."""
import os
import subprocess
import json
import sys
import tempfile

from engines import find_python, skip

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
LOGITS, GRADIENTS = 1e-4, 1e-3

find_python()

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

VOCABULARY = 160
BASE = dict(hidden_size=48, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=VOCABULARY, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            attn_implementation="eager", tie_word_embeddings=False)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1000.0}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 24}


def longrope(rotary):
    return dict(LONG, short_factor=[1.0 + 0.1 * i for i in range(rotary // 2)],
                long_factor=[2.0 + 0.5 * i for i in range(rotary // 2)])


CASES = {
    # grouped queries with biases everywhere, stretched linearly
    "llama-biases-linear": ("Llama", dict(attention_bias=True, mlp_bias=True, rope_parameters={
        "rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0})),
    "llama-mqa-tied": ("Llama", dict(num_key_value_heads=1, tie_word_embeddings=True, num_hidden_layers=1)),
    "llama-mha": ("Llama", dict(num_key_value_heads=4, rope_parameters={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16, "rope_theta": 10000.0})),
    "mistral-window-head": ("Mistral", dict(sliding_window=8, head_dim=20)),
    "mistral-yarn": ("Mistral", dict(sliding_window=None, rope_parameters=dict(YARN, beta_fast=16.0, beta_slow=2.0))),
    "qwen2-yarn": ("Qwen2", dict(rope_parameters=YARN)),
    "qwen2-windows": ("Qwen2", dict(use_sliding_window=True, sliding_window=6, max_window_layers=1, num_hidden_layers=3)),
    "qwen3": ("Qwen3", dict(head_dim=16, rope_parameters=dict(YARN, mscale=0.7, mscale_all_dim=0.4))),
    "gemma": ("Gemma", dict(head_dim=16, num_key_value_heads=1, tie_word_embeddings=True)),
    "gemma2": ("Gemma2", dict(head_dim=16, sliding_window=7, query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
                              final_logit_softcapping=3.0, num_hidden_layers=3, tie_word_embeddings=True)),
    "gemma3": ("Gemma3Text", dict(head_dim=16, sliding_window=5, query_pre_attn_scalar=24, num_hidden_layers=7,
                                  tie_word_embeddings=True, rope_parameters={
                                      "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                      "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})),
    "phi3": ("Phi3", dict()),
    "phi3-partial-window": ("Phi3", dict(sliding_window=9, rope_parameters={
        "rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 10000.0})),
    "phi3-longrope": ("Phi3", dict(original_max_position_embeddings=24, rope_parameters=longrope(12))),
    "phi4-longrope-partial": ("Phi3", dict(hidden_size=64, original_max_position_embeddings=24,
                                           rope_parameters=dict(longrope(12), partial_rotary_factor=0.75))),
    "olmo2": ("Olmo2", dict(num_key_value_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5})),
    "mixtral-window": ("Mixtral", dict(sliding_window=8, num_local_experts=5, num_experts_per_tok=2)),
    "qwen2-moe": ("Qwen2Moe", dict(num_experts=5, num_experts_per_tok=3, moe_intermediate_size=24, decoder_sparse_step=2,
                                   shared_expert_intermediate_size=40, norm_topk_prob=True, num_hidden_layers=4,
                                   mlp_only_layers=[3])),
    "qwen3-moe": ("Qwen3Moe", dict(num_experts=8, num_experts_per_tok=3, moe_intermediate_size=24, head_dim=16,
                                   norm_topk_prob=True, mlp_only_layers=[0], num_hidden_layers=3)),
    "qwen3-moe-raw": ("Qwen3Moe", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, head_dim=16,
                                       norm_topk_prob=False)),
}


def make(name, folder):
    family, changes = CASES[name]
    config = getattr(transformers, family + "Config")(**dict(BASE, **changes))
    torch.manual_seed(len(name))
    model = getattr(transformers, family.replace("Text", "") + "ForCausalLM")(config).eval()
    randomize(model, 0.0 if family.startswith("Gemma") else 1.0)
    model.save_pretrained(folder)
    return model


def randomize(model, norm):
    """Larger numbers than the usual start, so that every part of the arithmetic shows in the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            vector = parameter.dim() == 1
            parameter.copy_(torch.randn(parameter.shape) * (0.3 if vector else 2.0 * parameter.shape[-1] ** -0.5) +
                            (norm if vector else 0.0))


def inspect(*arguments, lines=None):
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect")] + list(arguments), stdout=subprocess.PIPE, text=True,
                          input=None if lines is None else "".join(json.dumps(line) + "\n" for line in lines))
    if done.returncode != 0:
        raise AssertionError("cwp-inspect %s: exit %d" % (" ".join(arguments), done.returncode))
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_logits(model, folder, sequences):
    out = os.path.join(folder, "logits.st")
    inspect("logits", folder, "--out", out, lines=[{"ids": s} for s in sequences])
    got, worst = load_file(out), 0.0
    for i, s in enumerate(sequences):
        with torch.no_grad():
            expected = model(torch.tensor([s])).logits[0]
        worst = max(worst, (got["logits.%d" % i] - expected).abs().max().item())
    assert worst <= LOGITS, "logits differ by %g" % worst
    return worst


def gradients(model, sequences):
    """Sums over the samples of g, |g| and g^2, g being the gradient of a sequence's mean loss."""
    sums = {}
    for s in sequences:
        model.zero_grad()
        ids = torch.tensor([s])
        logits = model(ids).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, ids[0, 1:]).backward()
        for name, parameter in model.named_parameters():
            g = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for kind, value in (("grad_sum", g), ("grad_abs", g.abs()), ("grad_sq", g * g)):
                key = kind + "/" + name
                sums[key] = sums[key] + value if key in sums else value.clone()
    return sums


def reference(expected, name):
    """The tensor for one of our names: transformers keeps the experts of a layer in two tensors."""
    if name in expected:
        return expected[name]
    name = name.replace("block_sparse_moe.gate", "mlp.gate").replace("block_sparse_moe.experts", "mlp.experts")
    if name in expected:
        return expected[name]
    before, _, rest = name.partition(".experts.")
    number, which = rest.split(".")[:2]
    if which in ("down_proj", "w2"):
        return expected[before + ".experts.down_proj"][int(number)]
    both = expected[before + ".experts.gate_up_proj"][int(number)]
    half = both.shape[0] // 2
    return both[:half] if which in ("gate_proj", "w1") else both[half:]


def check_statistics(model, folder, sequences):
    samples, out = os.path.join(folder, "samples.jsonl"), os.path.join(folder, "statistics.st")
    with open(samples, "w") as file:
        for i, s in enumerate(sequences):
            weights = [0.0] + [1.0 / (len(s) - 1)] * (len(s) - 1)
            file.write(json.dumps({"ids": s, "weights": weights, "group": i}) + "\n")
    inspect("statistics", folder, "--samples", samples, "--out", out)
    got, expected, worst, seen = load_file(out), gradients(model, sequences), 0.0, 0
    for name, value in got.items():
        if name.startswith("act_"):
            continue
        want = reference(expected, name)
        most = want.abs().max().item()
        worst = max(worst, (value - want).abs().max().item() / most if most > 0 else 0.0)
        assert worst <= GRADIENTS, "%s differs by %g of its largest" % (name, worst)
        seen += value.numel()
    assert seen == sum(v.numel() for v in expected.values()), "some parameters have no statistics"
    return worst


def check_generation(model, folder, prompts):
    """Greedy tokens, as far as the best is clearly the best."""
    count = 16
    got = inspect("generate", folder, lines=[{"ids": p, "max_new_tokens": count} for p in prompts])
    for p, g in zip(prompts, got):
        ids = list(p)
        for token in g["ids"]:
            with torch.no_grad():
                best = model(torch.tensor([ids])).logits[0, -1].topk(2)
            assert token == best.indices[0].item() or (best.values[0] - best.values[1]).item() < 1e-3, \
                "token %d after %d is %d, not %d" % (len(ids), len(p), token, best.indices[0])
            ids.append(token)
        assert len(g["ids"]) == count or g["ids"][-1] == 2, "only %d tokens" % len(g["ids"])


def check_extra(folder):
    """A tensor too many is named, by cwp-inspect and in a job's plan, and changes nothing."""
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    tensors["model.layers.1.self_attn.sinks"] = torch.zeros(4)
    save_file(tensors, path, metadata={"format": "pt"})
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", folder, "--out", path + ".out"], text=True,
                          input='{"ids": [3, 4]}\n', capture_output=True)
    assert done.returncode == 0 and "1 tensor" in done.stderr and "model.layers.1.self_attn.sinks" in done.stderr, done.stderr
    job = os.path.join(folder, "job.yaml")
    with open(job, "w") as file:
        json.dump({"model": folder, "output": os.path.join(folder, "out"), "quantize": {"plugin": "static"}}, file)
    plan = json.loads(subprocess.run([os.path.join(BUILD, "cwp-worker"), "plan", job], text=True, stdout=subprocess.PIPE,
                                     check=True).stdout)
    assert any("model.layers.1.self_attn.sinks" in w for w in plan["warnings"]), plan["warnings"]


def wrapped(family, folder):
    """A multimodal model: the text model inside, and its logits."""
    text = dict(BASE, head_dim=16)
    if family == "Gemma3":
        text.update(sliding_window=6, query_pre_attn_scalar=24, num_hidden_layers=7, tie_word_embeddings=True)
        config = transformers.Gemma3Config(
            text_config=text, vision_config=dict(hidden_size=24, intermediate_size=24, num_hidden_layers=1,
                                                 num_attention_heads=2, image_size=28, patch_size=14),
            mm_tokens_per_image=4, image_token_index=150, boi_token_index=151, eoi_token_index=152)
        model = transformers.Gemma3ForConditionalGeneration(config)
    else:
        config = transformers.Mistral3Config(
            text_config=dict(text, model_type="mistral"),
            vision_config=dict(model_type="pixtral", hidden_size=24, intermediate_size=24, num_hidden_layers=1,
                               num_attention_heads=2, image_size=28, patch_size=14), image_token_index=150)
        model = transformers.Mistral3ForConditionalGeneration(config)
    model = model.eval()
    torch.manual_seed(3)
    randomize(model, 0.0 if family == "Gemma3" else 1.0)
    model.save_pretrained(folder)
    return model


def main():
    generator = torch.Generator().manual_seed(5)
    sequences = [torch.randint(3, 150, (n,), generator=generator).tolist() for n in (1, 40, 2, 23, 64)]
    failed = 0
    for name in sys.argv[1:] or list(CASES) + ["wrapped-Gemma3", "wrapped-Mistral3"]:
        with tempfile.TemporaryDirectory(prefix="cwp-families-") as folder:
            try:
                if name.startswith("wrapped-"):
                    model = wrapped(name[8:], folder)
                    print("%s: logits within %.2g" % (name, check_logits(model, folder, sequences)))
                    continue
                model = make(name, folder)
                logits = check_logits(model, folder, sequences)
                worst = check_statistics(model, folder, sequences[1:])
                check_generation(model, folder, [sequences[1], sequences[0], sequences[3]])
                if name == "qwen3":
                    check_extra(folder)
                print("%s: logits within %.2g, gradients within %.2g" % (name, logits, worst))
            except AssertionError as wrong:
                failed += 1
                print("%s: %s" % (name, wrong))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

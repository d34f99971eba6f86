#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Adapters as PEFT saves them, merged by cwp-inspect and by PEFT's merge_and_unload in float32: random ones on every small
reference model (ranks and alphas by pattern, rsLoRA, all dtypes, several at once), and the reference adapter on the real
model; what PEFT saves and cannot be merged here is refused. Exit 77 when something needed is absent."""
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

from engines import CACHE, GOLDEN, SHARED, failures, find_python, need_golden, need_package, quiet, report

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
REFUSAL = os.path.join(SHARED, "models", "smollm2-refusal")
GGUF = os.environ.get("CWP_SMOLLM2_GGUF") or os.path.join(CACHE, "smollm2.gguf")
LIMIT = 1e-4

need_golden("smollm2")
find_python()
need_package("peft")

import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

sys.path.insert(0, os.path.join(SRC, "tests", "system"))
from worker_test import protected_positions  # noqa: E402

warnings.filterwarnings("ignore")
quiet(1)


def inspect(*arguments, lines=None, status=0):
    """What it prints, or its complaint."""
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect")] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, input=None if lines is None else "".join(json.dumps(line) + "\n" for line in lines))
    assert done.returncode == status, (arguments, done.returncode, done.stderr)
    return done.stderr if status else [json.loads(line) for line in done.stdout.splitlines()]


def options(adapters):
    return [word for a in adapters for word in ("--adapter", a)]


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def merge(model, adapters):
    for adapter in adapters:
        model = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model


def logits(model, ids):
    with torch.no_grad():
        return [model(torch.tensor([i])).logits[0] for i in ids]


class Run:
    def __init__(self, folder):
        self.folder = folder
        self.made = 0

    def path(self, name):
        self.made += 1
        return os.path.join(self.folder, "%s-%d" % (name, self.made))

    def weights(self, base, adapters):
        """The merged model as cwp-inspect writes it, in float32."""
        folder = self.path("dense")
        inspect("dense", base, "--out", folder, *options(adapters))
        tensors = {}
        for name in glob.glob(os.path.join(folder, "*.safetensors")):
            tensors.update(load_file(name))
        shutil.rmtree(folder)
        return tensors

    def ours(self, base, adapters, ids):
        out = self.path("logits")
        inspect("logits", base, "--out", out, *options(adapters), lines=[{"ids": i} for i in ids])
        tensors = load_file(out)
        return [tensors["logits.%d" % i] for i in range(len(ids))]

    def compare_weights(self, what, base, adapters, reference):
        """Every tensor that the two have under one name, and all that the adapters change."""
        mine, theirs = self.weights(base, adapters), reference.state_dict()
        plain = self.weights(base, [])
        changed = {n for n in mine if not torch.equal(mine[n], plain[n])}
        compared = [n for n in mine if n in theirs and mine[n].shape == theirs[n].shape]
        worst = max(((mine[n] - theirs[n]).abs().max() / theirs[n].abs().max()).item() for n in compared)
        report(what + ", weights", changed and changed <= set(compared) and worst <= 1e-6,
            "%d of %d tensors merged, apart by %.2g of the largest" % (len(changed), len(compared), worst))

    def apart(self, base, adapters, reference, ids):
        return max((x - y).abs().max().item() for x, y in zip(self.ours(base, adapters, ids), logits(reference, ids)))

    def compare_logits(self, what, base, adapters, reference, ids, limit=LIMIT):
        worst = self.apart(base, adapters, reference, ids)
        report(what + ", logits", worst <= limit, "apart by %.2g" % worst)


def linears(model):
    return sorted({name.split(".")[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and
        name != "lm_head" and ".experts." not in name})


def patterns(rng, model, targets, values):
    """Keys as people write them: ends of names, whole names, expressions."""
    whole = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.split(".")[-1] in targets]
    kinds = [lambda: rng.choice(targets), lambda: rng.choice(whole), lambda: "^" + rng.choice(whole),
        lambda: ".".join(rng.choice(whole).split(".")[-rng.randrange(1, 4):]), lambda: "layers\\.%d\\..*" % rng.randrange(2),
        lambda: ".*\\.(%s)" % "|".join(rng.sample(targets, min(2, len(targets)))), lambda: rng.choice(whole).replace(".", "\\."),
        lambda: "layers.[01].*" + rng.choice(targets), lambda: "no_such_module", lambda: rng.choice(targets)[1:]]
    # PEFT sorts keys when it saves them, and the first that matches counts.
    return dict(sorted((rng.choice(kinds)(), rng.choice(values)) for _ in range(rng.randrange(4))))


def random_adapter(run, rng, base):
    """One made and saved by PEFT; its factors in a dtype of their own."""
    model = load(base)
    all_targets = linears(model)
    targets = rng.sample(all_targets, rng.randrange(1, len(all_targets) + 1))
    more = {}
    kind = rng.randrange(6)
    if kind == 0 and ".experts." not in str(list(dict(model.named_modules()))):
        chosen = "all-linear" if len(all_targets) == len({n.split(".")[-1] for n, m in model.named_modules()
            if isinstance(m, torch.nn.Linear) and n != "lm_head"}) else targets
    elif kind == 1:
        chosen = ".*\\.layers\\.\\d+\\..*(%s)" % "|".join(targets)
    else:
        chosen = targets
        if kind == 2:
            more["layers_to_transform"] = rng.choice([0, [0], [1, 0], [1]])
            more["layers_pattern"] = rng.choice([None, "layers", ["h", "layers"]])
        elif kind == 3:
            more["exclude_modules"] = ["layers.0." + ".".join(n.split(".")[3:]) for n, _ in model.named_modules()
                if n.startswith("model.layers.0.") and n.endswith(targets[0])][:1]
    config = peft.LoraConfig(r=rng.randrange(1, 9), lora_alpha=rng.choice([1, 4, 16, 5]), target_modules=chosen, init_lora_weights=False,
        use_rslora=rng.random() < 0.5, fan_in_fan_out=rng.random() < 0.2, lora_dropout=0.1, task_type="CAUSAL_LM",
        rank_pattern=patterns(rng, model, targets, [1, 2, 3, 12]), alpha_pattern=patterns(rng, model, targets, [1, 7, 32]), **more)
    folder = run.path("adapter")
    peft.get_peft_model(model, config).save_pretrained(folder)
    path = os.path.join(folder, "adapter_model.safetensors")
    dtype = rng.choice([torch.float32, torch.bfloat16, torch.float16])
    tensors = {n: t.to(dtype) for n, t in load_file(path).items()}
    if rng.random() < 0.3:  # as some tools write them
        tensors = {n.replace(".weight", ".default.weight"): t for n, t in tensors.items()}
        own = {n.replace(".default.weight", ".weight"): t for n, t in tensors.items()}
        save_file(own, path)
        shutil.copytree(folder, folder + "-named")
        save_file(tensors, os.path.join(folder + "-named", "adapter_model.safetensors"))
        return folder, folder + "-named", json.dumps({k: v for k, v in config.to_dict().items() if v}, default=str)
    save_file(tensors, path)
    return folder, folder, json.dumps({k: v for k, v in config.to_dict().items() if v}, default=str)


def small(run):
    rng = random.Random(int(os.environ.get("CWP_SEED", "11")))
    folders = sorted(os.path.dirname(p) for p in glob.glob(os.path.join(GOLDEN, "*", "config.json")))
    folders = [f for f in folders if os.path.exists(os.path.join(f, "model.safetensors"))]
    report("reference models", len(folders) >= 12, [os.path.basename(f) for f in folders])
    ids = torch.randint(3, 250, (2, 24), generator=torch.Generator().manual_seed(1)).tolist()
    for base in folders:
        name = os.path.basename(base)
        for _ in range(3):
            made = [random_adapter(run, rng, base) for _ in range(rng.choice([1, 1, 2]))]
            reference = merge(load(base), [m[0] for m in made])
            before = len(failures)
            run.compare_weights(name, base, [m[1] for m in made], reference)
            run.compare_logits(name, base, [m[1] for m in made], reference, ids)
            if len(failures) > before:
                print("     " + "\n     ".join(m[2] for m in made))


def wrapper(kind):
    """A small random model for several media."""
    text = dict(hidden_size=48, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        vocab_size=160, max_position_embeddings=64)
    vision = dict(hidden_size=24, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    torch.manual_seed(4)
    if kind == "gemma3":
        return transformers.Gemma3ForConditionalGeneration(transformers.Gemma3Config(text_config=text, vision_config=vision,
            mm_tokens_per_image=4, image_token_index=150, boi_token_index=151, eoi_token_index=152)).eval()
    return transformers.Mistral3ForConditionalGeneration(transformers.Mistral3Config(
        text_config=dict(text, model_type="mistral"), vision_config=dict(vision, model_type="pixtral"), image_token_index=150,
        tie_word_embeddings=False)).eval()


def wrapped(run):
    """The text part of a model for several media: its checkpoint and its modules may spell it in two ways."""
    ids = torch.randint(3, 150, (2, 24), generator=torch.Generator().manual_seed(2)).tolist()
    for kind, targets in (("gemma3", "q_proj|down_proj"), ("mistral3", "v_proj|gate_proj")):
        base, adapter = run.path(kind), run.path("adapter")
        wrapper(kind).save_pretrained(base)
        expression = ".*language_model.*\\.(%s)%s" % (targets, "|lm_head" if kind == "mistral3" else "")
        peft.get_peft_model(wrapper(kind), peft.LoraConfig(r=3, lora_alpha=9, target_modules=expression, init_lora_weights=False,
            alpha_pattern={"layers.1.*": 2})).save_pretrained(adapter)
        reference = merge(wrapper(kind), [adapter])
        run.compare_logits(kind + " wrapped", base, [adapter], reference, ids)
        plain = run.ours(base, [], ids)
        report(kind + " wrapped, adapted at all", all((a - b).abs().max() > 1e-3 for a, b in zip(plain, logits(reference, ids))), "yes")
        path = os.path.join(adapter, "adapter_model.safetensors")
        spelled = {n.replace("model.language_model.", "language_model.model.").replace("model.lm_head", "model.language_model.lm_head"): t
            for n, t in load_file(path).items()}
        assert not set(spelled) & set(load_file(path))
        save_file(spelled, path)
        with open(os.path.join(adapter, "adapter_config.json"), encoding="utf-8") as f:
            config = json.load(f)
        config["target_modules"] = [t for t in (targets + "|lm_head").split("|")]
        with open(os.path.join(adapter, "adapter_config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
        run.compare_logits(kind + " wrapped, spelled as before", base, [adapter], reference, ids)


def refused(run):
    """What PEFT saves for other adapters, and which word of it is named."""
    base = os.path.join(GOLDEN, "llama31")
    lora = dict(r=4, target_modules=["q_proj"], init_lora_weights=False)
    cases = [(peft.LoraConfig(use_dora=True, **lora), "use_dora"),
        (peft.LoraConfig(modules_to_save=["lm_head"], **lora), "modules_to_save"),
        (peft.LoraConfig(trainable_token_indices=[1, 2], **lora), "trainable_token_indices"),
        (peft.LoraConfig(lora_bias=True, **lora), "lora_bias"), (peft.LoraConfig(bias="all", **lora), "bias"),
        (peft.LoraConfig(bias="lora_only", **lora), "bias"),
        (peft.LoraConfig(r=4, target_modules=["embed_tokens"], init_lora_weights=False), "lora_embedding_A"),
        (peft.LoraConfig(layer_replication=[[0, 2], [1, 2]], **lora), "layer_replication"),
        (peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa"), "init_lora_weights"),
        (peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="olora"), "init_lora_weights"),
        (peft.AdaLoraConfig(target_modules=["q_proj"], total_step=10), "ADALORA"),
        (peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]), "IA3"),
        (peft.LoHaConfig(r=4, target_modules=["q_proj"]), "LOHA"), (peft.LoKrConfig(r=4, target_modules=["q_proj"]), "LOKR"),
        (peft.VeraConfig(r=4, target_modules=["q_proj"]), "VERA"), (peft.PromptTuningConfig(num_virtual_tokens=4), "PROMPT_TUNING")]
    for config, word in cases:
        config.task_type = "CAUSAL_LM"
        folder = run.path("other")
        peft.get_peft_model(load(base), config).save_pretrained(folder)
        said = inspect("dense", base, "--adapter", folder, "--out", run.path("none"), status=65)
        report("refused: %s" % word, word in said and folder in said, said.strip()[-150:])
    folder = run.path("other")
    peft.get_peft_model(load(base), peft.LoraConfig(**lora)).save_pretrained(folder)
    said = inspect("dense", os.path.join(GOLDEN, "qwen3"), "--adapter", folder, "--out", run.path("none"), status=65)
    report("refused: another model's", "take the model that the adapter was trained on" in said, said.strip()[-150:])


def job(run, **parts):
    output = run.path("out")
    path = output + ".yaml"
    with open(path, "w", encoding="utf-8") as f:
        json.dump(dict(parts, output=output), f)
    subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", path], check=True, stderr=subprocess.DEVNULL)
    return output


def jobs(run):
    """Protected values of a job are PEFT's merged ones."""
    base, rng = os.path.join(GOLDEN, "smollm2"), random.Random(3)
    _, adapter, _ = random_adapter(run, rng, base)
    samples = run.path("samples.jsonl")
    with open(samples, "w", encoding="utf-8") as f:
        for _ in range(8):
            f.write(json.dumps({"ids": [rng.randrange(3, 250) for _ in range(20)], "weights": [0] + [0.05] * 19}) + "\n")
    output = job(run, model=base, adapter=adapter, quantize={"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32}},
        calibrate={"critical": [{"name": "s", "data": "samples", "path": samples}]}, score={"plugin": "fisher"},
        protect={"fraction": 0.05, "carrier": "overlay"})
    want, mine = merge(load(base), [adapter]).state_dict(), run.weights(output, [])
    count = worst = 0
    for module, places in protected_positions(output).items():
        for row, column, _ in places:
            worst = max(worst, abs((mine[module + ".weight"][row, column] - want[module + ".weight"][row, column]).item()))
            count += 1
    report("a job's protected values", count > 1000 and worst <= 1e-6, "%d of them, apart by %.2g" % (count, worst))


def real(run):
    base = run.path("smollm2")
    inspect("dense", GGUF, "--out", base, "--dtype", "bf16")
    ids = [t["ids"] for t in inspect("tokens", GGUF, lines=[{"text": t} for t in ("Explain to a child why the sky is blue.",
        "What is the difference between a virus and a bacterium?", "Tell me how to pick a lock.")])]
    # Thirty layers in float32 are 5e-5 apart without any adapter, 1e-4 in plain C: merging must not add to that.
    plain = run.apart(base, [], load(base), ids)
    reference = merge(load(base), [REFUSAL])
    run.compare_weights("real model", base, [REFUSAL], reference)
    for name, model in (("folder", base), ("GGUF", GGUF)):
        run.compare_logits("real model, %s, %.2g apart without" % (name, plain), model, [REFUSAL], reference, ids,
            max(LIMIT, 2 * plain))
    # Merged and skipped modules are F32 among BF16 ones: other engines load them all the same.
    output = job(run, model=GGUF, adapter=REFUSAL, quantize={"plugin": "static", "skip": ["lm_head", "mlp.down_proj"],
        "options": {"bits": 4, "granularity": "group", "group": 64}})
    worst = max((x - y).abs().max().item() for x, y in zip(run.ours(output, [], ids), logits(load(output), ids)))
    report("real model, int4", worst <= 2e-3, "logits apart by %.2g" % worst)
    shutil.rmtree(output)


def main():
    folder = tempfile.mkdtemp(prefix="cwp-interop-")
    run = Run(folder)
    try:
        small(run)
        wrapped(run)
        refused(run)
        jobs(run)
        if os.path.exists(GGUF) and os.path.exists(os.path.join(REFUSAL, "adapter_model.safetensors")):
            real(run)
        else:
            print("without the real model: %s or %s is absent" % (GGUF, REFUSAL))
    finally:
        shutil.rmtree(folder)
    if failures:
        print("%d comparisons failed" % len(failures))
        sys.exit(1)


main()

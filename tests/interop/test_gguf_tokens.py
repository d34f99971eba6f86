#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The reference tokenizers as GGUF metadata, written with the gguf package as llama.cpp's converter writes them, give the ids of the
reference data: merges are made of scores where the kind is "llama". Exit 77 when something needed is absent."""
import json
import os
import subprocess
import sys
import tempfile

from engines import find_python, skip

SHARED = os.environ.get("CWP_SHARED", "")
BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
if not os.path.exists(os.path.join(SHARED, "golden", "tokens", "smollm2.jsonl")):
    skip("no reference tokenizers below CWP_SHARED (%s)" % (SHARED or "not set"))
find_python()

try:
    import gguf  # noqa: E402
    import numpy as np  # noqa: E402
except ImportError:
    skip("the package gguf is not installed (scripts/packages --python)")

# name: architecture, kind, pre, first token, further keys
MODELS = {"llama3_1": ("llama", "gpt2", "llama-bpe", "<|begin_of_text|>"), "qwen2_5": ("qwen2", "gpt2", "qwen2", None),
          "mistral_nemo": ("llama", "gpt2", "tekken", "<s>"), "smollm2": ("llama", "gpt2", "smollm", None),
          "llama2": ("llama", "llama", "default", "<s>"), "gemma": ("gemma", "llama", "default", "<bos>"),
          "gemma3": ("gemma3", "llama", "default", "<bos>")}


def halves(merge):
    return merge.split(" ") if isinstance(merge, str) else merge


def token_type(token, added, unknown):
    if token == unknown:
        return gguf.TokenType.UNKNOWN
    if token in added:
        return gguf.TokenType.CONTROL if added[token]["special"] else gguf.TokenType.USER_DEFINED
    if len(token) == 6 and token.startswith("<0x"):
        return gguf.TokenType.BYTE
    return gguf.TokenType.NORMAL


def scores_of(tokens, merges):
    """SentencePiece numbers its pieces in the order in which it made them."""
    rank = {}
    for merge in merges:
        rank.setdefault("".join(halves(merge)), -float(len(rank)))
    return [rank.get(token, -float(len(rank) + i)) for i, token in enumerate(tokens)]


def write(path, name, whole):
    architecture, kind, pre, bos = MODELS[name]
    model = whole["model"]
    added = {t["content"]: t for t in whole["added_tokens"]}
    ids = dict(model["vocab"])
    ids.update((t["content"], t["id"]) for t in whole["added_tokens"])
    tokens = [None] * (max(ids.values()) + 1)
    for token, i in ids.items():
        tokens[i] = token
    types = [token_type(t, added, model["unk_token"]) if t is not None else gguf.TokenType.UNUSED for t in tokens]
    texts = ["[PAD%d]" % i if t is None else t.replace("\u2581", " ") if kind == gguf.TokenType.USER_DEFINED else t
             for i, (t, kind) in enumerate(zip(tokens, types))]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if kind == "gpt2":
        writer.add_token_merges([" ".join(halves(m)) for m in model["merges"]])
    else:
        writer.add_token_scores(scores_of(tokens, model["merges"]))
        writer.add_unk_token_id(ids[model["unk_token"]])
    if architecture.startswith("gemma"):
        writer.add_add_space_prefix(False)
        writer.add_key_length(64)
        writer.add_value_length(64)
    if bos:
        writer.add_bos_token_id(ids[bos])
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cwp-gguf-") as folder:
        for name in MODELS:
            with open(os.path.join(SHARED, "tokenizers", name, "tokenizer.json"), encoding="utf-8") as f:
                whole = json.load(f)
            with open(os.path.join(SHARED, "golden", "tokens", name + ".jsonl"), encoding="utf-8", newline="\n") as f:
                lines = [json.loads(line) for line in f.read().split("\n") if line]
            path = os.path.join(folder, name + ".gguf")
            write(path, name, whole)
            asked = "".join(json.dumps({k: line[k] for k in ("text", "add_special_tokens")}) + "\n" for line in lines)
            done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "tokens", path], input=asked, stdout=subprocess.PIPE, text=True,
                                  check=True)
            got = [json.loads(line)["ids"] for line in done.stdout.split("\n") if line]
            wrong = [(line["text"], g, line["ids"]) for line, g in zip(lines, got) if g != line["ids"]]
            for text, g, ids in wrong[:5]:
                print("    %s: %s, not %s" % (ascii(text), g, ids))
            failed += bool(wrong) or len(got) != len(lines)
            print("%s %s: %d lines, %d differ" % ("FAIL" if wrong else "ok  ", name, len(got), len(wrong)), flush=True)
            os.unlink(path)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

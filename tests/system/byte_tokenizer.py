# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of single bytes and of some special tokens: equal ids mean equal texts."""
import json
import os


def byte_alphabet():
    """byte -> the character that stands for it in a byte-level vocabulary."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def write_tokenizer(folder, tokens, template=None, bos=None, eos=None):
    """Writes tokenizer.json and tokenizer_config.json; a byte is its own id, the tokens begin at 256."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    added = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True} for i, text in enumerate(tokens)]
    data = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": {text: byte for byte, text in byte_alphabet().items()}, "merges": []}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "chat_template": template}
    for name, content in (("tokenizer.json", data), ("tokenizer_config.json", config)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump({key: value for key, value in content.items() if value is not None or key in data}, f)


def text_of(ids, tokens):
    """What the ids stand for; special tokens by name."""
    out = b""
    for i in ids:
        out += bytes([i]) if i < 256 else tokens[i - 256].encode()
    return out.decode()

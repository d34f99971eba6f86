# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Random small tokenizer.json files over all components that are supported."""

LETTERS = list("abcdABC12 .,!-'\n\t") + ["\u2581", "\u00e9", "\u00c9", "\u00df", "e\u0301", "\u0327", "\uac00", "\u1100", "\u1161", "\u4e2d",
                                        "\U0001F642", "\u017f", "\u212a", "\u0130", "\u01c5", "\u3000", "\u0085", "\u00b2", "\u0663", "\u2028"]
BYTES = [chr(c) for c in list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100)) + list(range(0x100, 0x144))]


def word(rng, alphabet, low=1, high=4):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def characters(rng):
    """One character each, most of those that texts will have."""
    alphabet = sorted({c for text in LETTERS for c in text})
    return [c for c in alphabet if rng.random() < 0.85] or ["a"]


def class_of(rng, depth=0):
    items = []
    for _ in range(rng.randint(1, 3)):
        items.append(rng.choice(["a-c", "A-Z", "0-9", "abc", "\\s", "\\p{L}", "\\p{N}", "\\p{Lu}", "\\p{M}", "\\r\\n", "\\d", "\\w", "\\S", "\\P{L}",
                                 "\\p{P}", "\\p{^N}", "\u00e0-\u00ff", "\u4e00-\u9fff", ".,!", "\\-", "\\]", "\\p{Han}", "\\W", "\\p{S}"]))
    body = "".join(items)
    if depth < 2 and rng.random() < 0.15:
        body += class_of(rng, depth + 1)
    if rng.random() < 0.12:
        body += "&&" + (class_of(rng, depth + 1) if depth < 2 and rng.random() < 0.5 else rng.choice(["a-m", "\\p{L}", "\\w"]))
    return "[" + rng.choice(("", "", "^")) + body + "]"


def atom(rng, depth):
    kind = rng.randrange(15)
    if kind < 3:
        return rng.choice(["a", "b", "B", "1", " ", "\\.", "'", "-", "\u00e9", "\u2581", "\\n", "\\t", "\\x{e9}", "\\u4e2d", "!"])
    if kind < 6:
        return class_of(rng)
    if kind < 9:
        return rng.choice(["\\s", "\\S", "\\p{L}", "\\p{N}", "\\p{Lu}", "\\P{L}", "\\d", "\\D", "\\w", "\\W", ".", "\\p{^L}", "\\p{Nd}"])
    if kind < 11 and depth < 2:
        return rng.choice(("(", "(?:", "(?>")) + expression(rng, depth + 1) + ")"
    if kind == 11:
        return rng.choice(["(?i:'s|'t|'re|'ll)", "(?i:k)", "(?i:[a-dS])", "(?i:a|bc)", "(?i:b)", "(?i:a\\sb)"])
    return rng.choice(["a", "b", " ", "\\s"])


def quantifier(rng):
    return rng.choice(["*", "+", "?", "+", "*?", "+?", "??", "++", "*+", "?+", "{2}", "{1,3}", "{2,}", "{,2}", "{1,2}?"])


def sequence(rng, depth):
    out = ""
    for _ in range(rng.randint(1, 3)):
        piece = rng.random()
        if piece < 0.08:
            out += rng.choice(["(?=", "(?!"]) + atom(rng, 2) + ")"
        elif piece < 0.13:
            out += rng.choice(["(?<=a)", "(?<!a)", "(?<=\\s)", "(?<!\\p{L})", "(?<![a-c]1)"])
        elif piece < 0.18:
            out += rng.choice(["^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z"])
        else:
            what = atom(rng, depth)
            # No loop in a loop: the reference would go on for ever.
            loops = what.startswith("(") and any(c in what for c in "*+{")
            out += what + (("?" if loops else quantifier(rng)) if rng.random() < 0.45 else "")
    return out


def expression(rng, depth=0):
    return "|".join(sequence(rng, depth) for _ in range(rng.choice((1, 1, 2, 3))))


KNOWN = ["'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
         "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|\\s+",
         "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+|\\s+|.",
         "[\\p{P}\\$\\+<=>\\^~\\|]+", "\\p{N}+", "\\w+|[^\\w\\s]+", "\\s+", "[0-9][0-9][0-9]"]


def pattern(rng):
    if rng.random() < 0.35:
        return {"String": word(rng, LETTERS, 1, 2)}
    return {"Regex": rng.choice(KNOWN) if rng.random() < 0.4 else expression(rng)}


def behavior(rng):
    return rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])


def metaspace(rng):
    out = {"type": "Metaspace", "replacement": rng.choice(["\u2581", "\u2581", "_", "a"])}
    kind = rng.randrange(4)
    if kind == 0:
        out["add_prefix_space"] = True
    elif kind == 1:
        out.update(add_prefix_space=False, prepend_scheme="never")
    else:
        out["prepend_scheme"] = rng.choice(["always", "first", "never"])
    if rng.random() < 0.6:
        out["split"] = rng.random() < 0.5
    return out


def normalizer_step(rng):
    kind = rng.randrange(12)
    if kind < 5:
        return {"type": ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"][kind]}
    if kind == 5:
        return {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5}
    if kind == 6:
        return {"type": "StripAccents"}
    if kind == 7:
        return {"type": "Prepend", "prepend": rng.choice(["\u2581", "a ", "\u00e9"])}
    if kind == 8 and rng.random() < 0.3:
        return {"type": "ByteLevel"}
    return {"type": "Replace", "pattern": pattern(rng), "content": word(rng, LETTERS, 0, 2) if rng.random() < 0.6 else "\u2581"}


def pretokenizer_step(rng):
    kind = rng.randrange(9)
    if kind < 3:
        return {"type": "Split", "pattern": pattern(rng), "behavior": behavior(rng), "invert": rng.random() < 0.2}
    if kind == 3:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    if kind == 4:
        return {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.4, "trim_offsets": True, "use_regex": rng.random() < 0.5}
    if kind == 5:
        return {"type": "Punctuation", "behavior": behavior(rng)}
    if kind == 6:
        return {"type": rng.choice(["Whitespace", "WhitespaceSplit"])}
    return metaspace(rng)


def decoder_step(rng):
    kind = rng.randrange(8)
    if kind < 3:
        return {"type": ["ByteFallback", "Fuse", "ByteLevel"][kind]}
    if kind == 3:
        left, right = rng.choice([(1, 0), (0, 1), (2, 0), (0, 0)])
        return {"type": "Strip", "content": rng.choice([" ", "a", "\u2581"]), "start": left, "stop": right}
    if kind < 6:
        return {"type": "Replace", "pattern": rng.choice([{"String": "\u2581"}, {"String": word(rng, LETTERS, 1, 2)}, pattern(rng)]),
                "content": rng.choice([" ", "", "\u00e9"])}
    return metaspace(rng)


def some(rng, step, key):
    """None, one step, or a sequence of some, perhaps with one inside."""
    kind = rng.random()
    if kind < 0.25:
        return None
    if kind < 0.45:
        return step(rng)
    steps = [step(rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.15:
        steps = [{"type": "Sequence", key: steps}]
    return {"type": "Sequence", key: steps}


def bpe(rng, alphabet):
    vocab = {}
    for token in alphabet:
        vocab.setdefault(token, len(vocab))
    fallback = rng.random() < 0.4
    if fallback:
        for byte in range(256):
            if rng.random() < 0.98:
                vocab.setdefault("<0x%02X>" % byte, len(vocab))
    unknown = "<unk>" if rng.random() < 0.6 else None
    if unknown:
        vocab.setdefault(unknown, len(vocab))
    merges = []
    tokens = [t for t in vocab if not t.startswith("<")]
    for _ in range(rng.randint(0, 60)):
        pair = [rng.choice(tokens), rng.choice(tokens)]
        joined = "".join(pair)
        if len(joined) > 12 or pair in merges:
            continue
        if joined not in vocab:
            vocab[joined] = len(vocab)
            tokens.append(joined)
        merges.append(pair)
    for _ in range(rng.randint(0, 4)):  # in the vocabulary, but not made by merges
        vocab.setdefault(word(rng, alphabet, 2, 4), len(vocab))
    if not any(" " in half for pair in merges for half in pair) and rng.random() < 0.5:
        merges = [" ".join(pair) for pair in merges]
    model = {"type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": rng.random() < 0.5, "byte_fallback": fallback, "ignore_merges": rng.random() < 0.3, "vocab": vocab, "merges": merges}
    return model, list(vocab)


def score(rng, levels):
    return rng.choice(levels) if rng.random() < 0.7 else -rng.random() * 12


def unigram(rng, alphabet):
    levels = [-float(rng.randint(0, 4000)) / 7 for _ in range(4)] + [-1.5, -2.25]
    tokens = dict.fromkeys(alphabet)
    for _ in range(rng.randint(0, 60)):
        tokens.setdefault(word(rng, alphabet + list(tokens)[-8:], 2, 4)[:12])
    fallback = rng.random() < 0.4
    if fallback:
        for byte in range(256):
            if rng.random() < 0.98:
                tokens.setdefault("<0x%02X>" % byte)
    tokens.setdefault("<unk>")
    tokens = list(tokens)
    rng.shuffle(tokens)
    unknown = tokens.index("<unk>") if rng.random() < 0.85 else None
    vocab = [[t, 0.0 if t == "<unk>" else score(rng, levels)] for t in tokens]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": fallback}, tokens


def added_tokens(rng, vocab):
    out = []
    ids = {token: i for i, token in enumerate(vocab)}
    for _ in range(rng.choice((0, 1, 2, 5))):
        content = rng.choice(vocab) if rng.random() < 0.2 else word(rng, LETTERS, 1, 4)
        if not content or any(t["content"] == content for t in out):
            continue
        ids.setdefault(content, len(ids))
        out.append({"id": ids[content], "content": content, "single_word": rng.random() < 0.3, "lstrip": rng.random() < 0.3,
                    "rstrip": rng.random() < 0.3, "normalized": rng.random() < 0.5, "special": rng.random() < 0.5})
    return out, ids


def template(rng, ids):
    names = list(ids)
    special = {}
    for name in ("X", "Y"):
        tokens = [rng.choice(names) for _ in range(rng.randint(1, 2))]
        special[name] = {"id": name, "ids": [ids[t] for t in tokens], "tokens": tokens}
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    for name in ("X", "Y"):
        for _ in range(rng.randrange(3)):
            single.insert(rng.randint(0, len(single)), {"SpecialToken": {"id": name, "type_id": 0}})
    pair = single + [{"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def postprocessor(rng, ids):
    levels = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    kind = rng.randrange(4)
    if kind == 0:
        return None
    if kind == 1:
        return template(rng, ids)
    return levels if kind == 2 else {"type": "Sequence", "processors": [levels, template(rng, ids)]}


def has_bytes(component):
    if isinstance(component, dict):
        return component.get("type") == "ByteLevel" or any(has_bytes(v) for v in component.values())
    return isinstance(component, list) and any(has_bytes(v) for v in component)


def tokenizer(rng):
    """A tokenizer.json and strings that its texts should have."""
    normalizer = some(rng, normalizer_step, "normalizers")
    pretokenizer = some(rng, pretokenizer_step, "pretokenizers")
    bytes_too = has_bytes(normalizer) or has_bytes(pretokenizer)
    alphabet = rng.sample(BYTES, 200) + ["\u2581"] if bytes_too else characters(rng)
    model, vocab = (unigram if rng.random() < 0.4 else bpe)(rng, alphabet)
    added, ids = added_tokens(rng, vocab)
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
             "pre_tokenizer": pretokenizer, "post_processor": postprocessor(rng, ids), "decoder": some(rng, decoder_step, "decoders"),
             "model": model}
    return whole, len(ids), LETTERS + [t["content"] for t in added] * 4 + ([] if bytes_too else rng.sample(vocab, min(len(vocab), 20)))

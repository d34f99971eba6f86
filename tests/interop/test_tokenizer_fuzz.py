#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Random texts give the ids of the reference library ("tokenizers"): with the real tokenizers through cwp-inspect, and with random
small tokenizers over every component that is supported, there and back. CWP_FUZZ_STRINGS: texts for each real tokenizer, 2000 by
default; CWP_FUZZ_SEED: where the random numbers start; CWP_FUZZ_ONLY: one name of a tokenizer, or "synthetic". Exit 77 when the
package is absent."""
import json
import os
import random
import subprocess
import sys
import tempfile

from engines import find_python, skip

find_python()

import fuzz_texts  # noqa: E402
import fuzz_tokenizers  # noqa: E402

try:
    import tokenizers  # noqa: E402
except ImportError:
    skip("the package tokenizers is not installed (scripts/packages --python)")

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SHARED = os.environ.get("CWP_SHARED", "")
STRINGS = int(os.environ.get("CWP_FUZZ_STRINGS", "2000"))
SEED = os.environ.get("CWP_FUZZ_SEED", "1")
ONLY = os.environ.get("CWP_FUZZ_ONLY")
NAMES = ["gemma", "gemma3", "llama2", "llama3_1", "mistral_nemo", "qwen2_5", "smollm2"]
TEXTS = 24    # for each synthetic tokenizer
LONGEST = 80  # characters of their texts: random patterns may take the cube of it
SHOWN = 5     # differences of each kind


def run(command, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, text=True)
    # Not splitlines: it would also split at what JSON leaves alone.
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def decoded_pieces(reference, count, rng):
    """Texts of some tokens, as they stand in the vocabulary and as they are decoded, and all added tokens."""
    size = reference.get_vocab_size()
    ids = [rng.randrange(size) for _ in range(count)]
    out = [reference.decode([i], skip_special_tokens=False) for i in ids]
    out += [reference.id_to_token(i) or "a" for i in ids[:count // 4]]
    out += [t.content for t in reference.get_added_tokens_decoder().values()][:200]
    return [text for text in out if text and "\ufffd" not in text]


class Check:
    def __init__(self):
        self.failed = 0

    def say(self, name, compared, wrong):
        for line in wrong[:SHOWN]:
            print("    %s" % line)
        print("%s %s: %d compared, %d differ" % ("ok  " if not wrong else "FAIL", name, compared, len(wrong)), flush=True)
        self.failed += bool(wrong)


def real(check, name, folder):
    rng = random.Random("%s %s" % (SEED, name))
    path = os.path.join(SHARED, "tokenizers", name)
    reference = tokenizers.Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    own = decoded_pieces(reference, 2000, rng)
    wrong = []
    compared = 0
    for start in range(0, STRINGS, 10000):
        texts = [fuzz_texts.text(rng, own) for _ in range(min(10000, STRINGS - start))]
        special = [rng.random() < 0.5 for _ in texts]
        expected = [reference.encode(t, add_special_tokens=s).ids for t, s in zip(texts, special)]
        got = run([os.path.join(BUILD, "cwp-inspect"), "tokens", path],
                  [{"text": t, "add_special_tokens": s} for t, s in zip(texts, special)])
        assert len(got) == len(texts), (name, len(got), len(texts))
        wrong += ["%s: %s, not %s" % (ascii(t), g["ids"], e) for t, g, e in zip(texts, got, expected) if g["ids"] != e]
        # And back: ids of texts, and ids that no text gives.
        lists = expected + [[rng.randrange(reference.get_vocab_size()) for _ in range(rng.randint(0, 8))] for _ in texts]
        skipped = [rng.random() < 0.5 for _ in lists]
        back = run([os.path.join(BUILD, "tests", "interop", "tokenize_lines")], [{"open": os.path.join(path, "tokenizer.json")}] +
                   [{"ids": ids, "skip": s} for ids, s in zip(lists, skipped)])[1:]
        for ids, s, b in zip(lists, skipped, back):
            e = reference.decode(ids, skip_special_tokens=s)
            if b.get("text") != e:
                wrong.append("%s: %s, not %s" % (ids, ascii(b), ascii(e)))
        compared += len(texts) + len(lists)
    check.say(name, compared, wrong)


def expected_of(call):
    """A value of the reference, or None where it has none: an error, or a panic."""
    try:
        return call()
    except BaseException as e:  # noqa: B902 - the reference's panics are no Exception
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise
        return None


def synthetic_lines(rng, path, whole, size, own):
    """What is asked, and what the reference answers; None where it fails."""
    with open(path, "w", encoding="utf-8") as f:
        json.dump(whole, f, ensure_ascii=rng.random() < 0.5)
    reference = tokenizers.Tokenizer.from_file(path)
    if reference.normalizer:
        # Of tokens with the same normalized form the reference finds one at random; an empty form makes it hang.
        forms = [reference.normalizer.normalize_str(t["content"]) for t in whole["added_tokens"] if t["normalized"]]
        if len(set(forms)) < len(forms) or "" in forms:
            return [], []
    lines, answers = [{"open": path}], [{}]
    for _ in range(TEXTS):
        text = "".join(rng.choice(own) for _ in range(rng.randint(0, 10))) if rng.random() < 0.7 else fuzz_texts.text(rng, own)[:LONGEST]
        special = rng.random() < 0.5
        ids = expected_of(lambda: reference.encode(text, add_special_tokens=special).ids)  # noqa: B023
        lines.append({"text": text, "special": special})
        answers.append(None if ids is None else {"ids": ids})
        if ids is None or rng.random() < 0.5:
            ids = [rng.randrange(size) for _ in range(rng.randint(0, 6))]
        skipped = rng.random() < 0.5
        back = expected_of(lambda: reference.decode(ids, skip_special_tokens=skipped))  # noqa: B023
        lines.append({"ids": ids, "skip": skipped})
        answers.append(None if back is None else {"text": back})
    return lines, answers


def synthetic(check, folder):
    count = max(50, STRINGS // 5)
    rng = random.Random("%s synthetic" % SEED)
    wrong = []
    compared = failed = 0
    for start in range(0, count, 500):
        lines, answers, files = [], [], []
        for i in range(start, min(start + 500, count)):
            whole, size, own = fuzz_tokenizers.tokenizer(rng)
            path = os.path.join(folder, "%d.json" % i)
            some = expected_of(lambda: synthetic_lines(rng, path, whole, size, own))  # noqa: B023
            if some is None:  # a random pattern that the reference refuses
                failed += 1
                continue
            lines += some[0]
            answers += some[1]
            files += [whole] * len(some[0])
        got = run([os.path.join(BUILD, "tests", "interop", "tokenize_lines")], lines)
        assert len(got) == len(lines)
        opened = False
        for line, g, e, whole in zip(lines, got, answers, files):
            if "open" in line:
                opened = "error" not in g
                if "may match the empty string" in g.get("error", ""):
                    continue  # refused, since the reference itself goes wrong
            elif not opened or e is None:
                continue
            compared += 1
            if g != e:
                parts = ("decoder",) if "ids" in line else ("normalizer", "pre_tokenizer", "added_tokens")
                shown = {k: whole[k] for k in parts if whole[k]}
                wrong.append("%s\n      %s\n      gave %s, not %s" % (ascii(shown), ascii(line), ascii(g), ascii(e)))
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
    assert failed < count // 4, failed
    check.say("%d synthetic tokenizers" % (count - failed), compared, wrong)


def main():
    check = Check()
    missing = []
    # The reference's panics are expected where its own steps do not fit together; their traces are not of interest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2) if not os.environ.get("CWP_FUZZ_VERBOSE") else None
    with tempfile.TemporaryDirectory(prefix="cwp-fuzz-") as folder:
        if ONLY in (None, "synthetic"):
            synthetic(check, folder)
        for name in NAMES:
            if ONLY not in (None, name):
                continue
            if os.path.exists(os.path.join(SHARED, "tokenizers", name, "tokenizer.json")):
                real(check, name, folder)
            else:
                missing.append(name)
    if check.failed:
        return 1
    if missing:
        skip("no reference tokenizers below CWP_SHARED (%s)" % (SHARED or "not set"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

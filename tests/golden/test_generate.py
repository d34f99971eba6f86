#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The real model's continuations of the reference prompts, all in one call: the reference's tokens, as far as its margins
are clear, and its texts; the tokens that a pass over the whole sequence gives; the same one at a time and with weights
read anew for each step; and texts cut at strings. Standard library only."""
import json
import os
import subprocess
import sys

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
CACHE = os.environ.get("CWP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cwp")
GGUF = os.environ.get("CWP_SMOLLM2_GGUF") or os.path.join(CACHE, "smollm2.gguf")
GOLDEN = os.path.join(os.environ.get("CWP_SHARED", ""), "golden", "eval-smollm2", "generate.jsonl")
MARGIN = 0.01
NEW = 40


def inspect(verb, lines, *options):
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), verb, GGUF] + list(options), check=True, text=True,
        stdout=subprocess.PIPE, input="".join(json.dumps(line) + "\n" for line in lines))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines), (verb, len(answers))
    return answers


def check_reference(items, answers):
    """After a step without a clear winner another float32 implementation may go another way."""
    whole = 0
    for item, mine in zip(items, answers):
        margins, expected = item["top1_minus_top2"], item["ids_new"]
        sure = next((k for k, m in enumerate(margins) if m < MARGIN), len(expected))
        assert mine["ids"][:sure] == expected[:sure], (item["id"], mine["ids"])
        if sure == len(expected):
            assert mine == {"ids": expected, "text": item["text"]}, (item["id"], mine)
            whole += 1
    print("%d of %d continuations equal to the end" % (whole, len(items)))
    assert whole > 0


def check_recomputed(prompts, answers):
    """Each token is the most likely one of a pass over all tokens before it."""
    for p, a, s in zip(prompts, answers, inspect("loglik", [{"context_ids": p, "continuation_ids": a["ids"]}
            for p, a in zip(prompts, answers)])):
        assert s["greedy"] and s["tokens"] == len(a["ids"]), (p, a, s)


def check_stops(items, answers):
    """A string from the text itself, at several places and across tokens."""
    lines, wanted = [], []
    for item, a in zip(items, answers):
        for at in (0, 7, len(a["text"]) // 2, len(a["text"]) - 5):
            stop = a["text"][at:at + 5]
            lines.append({"ids": item["ids_prompt"], "max_new_tokens": NEW, "stop": ["<|im_end|>", stop]})
            wanted.append((stop, a))
    stopped = inspect("generate", lines)
    for mine, (stop, full) in zip(stopped, wanted):
        assert mine["text"] == full["text"].split(stop)[0], (stop, mine, full)
        assert mine["ids"] == full["ids"][:len(mine["ids"])], (stop, mine, full)
    # A token fewer has not got the string yet.
    fewer = [dict(line, stop=["<|im_end|>"], max_new_tokens=len(mine["ids"]) - 1)
        for line, mine in zip(lines, stopped)]
    for mine, (stop, _) in zip(inspect("generate", fewer), wanted):
        assert stop not in mine["text"], (stop, mine)


def main():
    if not os.path.exists(GOLDEN):
        print("skipped: no reference continuations below CWP_SHARED (%s)" % (os.environ.get("CWP_SHARED") or "not set"))
        return 77
    if not os.path.exists(GGUF):
        print("skipped: no real model (scripts/packages --model)")
        return 77
    with open(GOLDEN, encoding="utf-8") as f:
        items = [json.loads(line) for line in f]
    prompts = [item["ids_prompt"] for item in items]
    lines = [{"ids": p, "max_new_tokens": NEW} for p in prompts]
    answers = inspect("generate", lines)
    check_reference(items, answers)
    check_recomputed(prompts, answers)
    check_stops(items, answers)
    # Sequences that leave at different times, and one of a single token.
    uneven = [dict(line, max_new_tokens=3 + 4 * i) for i, line in enumerate(lines)] + [{"ids": [1], "max_new_tokens": 12}]
    together = inspect("generate", uneven, "--batch", "3")
    assert together == inspect("generate", uneven, "--batch", "1", "--threads", "1")
    few = [dict(line, max_new_tokens=3) for line in uneven[:3]]
    assert inspect("generate", few, "--memory", "0") == inspect("generate", few)
    check_recomputed([line["ids"] for line in uneven], together)
    return 0


if __name__ == "__main__":
    sys.exit(main())

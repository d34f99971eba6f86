#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Chat formats against transformers' apply_chat_template: random conversations with the templates that models ship (those
below CWP_SHARED) and with ours of the other families (chat_templates.py). Tokenizers are small ones of bytes and of the
format's special tokens, so that equal ids mean equal texts; the shipped tokenizers are used too. Whatever a template
refuses is refused. Exit 77 when something needed is absent."""
import json
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from byte_tokenizer import write_tokenizer
from chat_templates import IM, TEMPLATES
from engines import find_python, skip

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
TOKENIZERS = os.path.join(os.environ.get("CWP_SHARED", ""), "tokenizers")
SHIPPED = {"smollm2": "smollm2", "qwen2_5": "qwen2.5", "llama3_1": "llama3", "gemma3": "gemma3", "mistral_nemo": "mistral-nemo"}
CONVERSATIONS = 400

if not os.path.exists(os.path.join(TOKENIZERS, "smollm2", "tokenizer_config.json")):
    skip("no tokenizers below CWP_SHARED (%s)" % (os.environ.get("CWP_SHARED") or "not set"))
find_python()

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from jinja2.exceptions import TemplateError  # noqa: E402

transformers.logging.set_verbosity_error()

PIECES = ["", " ", "\n", "\t", "\u00a0", "\u2003", "\x1c", "Hi", "What is this?", "a  b", "\n\nline", "é", "한국어", "👨‍👩‍👧", "</s>", "[INST]",
    "<|im_end|>", "<end_of_turn>", "{{ bos_token }}", "'", '"', "<<SYS>>", "[/INST]"]
THOUGHTS = ["<think>", "</think>", "<think>\n\n", "\n</think>\n\n", "why\n"]


def conversations(rng, thinks):
    pieces = PIECES + THOUGHTS * 2 if thinks else PIECES
    for _ in range(CONVERSATIONS):
        roles = ["system"] if rng.random() < 0.4 else []
        if rng.random() < 0.85:
            turns = rng.randrange(1, 6)
            roles += [("user", "assistant")[i % 2] for i in range(turns)]
        else:
            roles += rng.choices(("system", "user", "assistant"), k=rng.randrange(1, 5))
        messages = [{"role": r, "content": "".join(rng.choices(pieces, k=rng.randrange(0, 5)))} for r in roles]
        yield {"messages": messages, "add_generation_prompt": rng.random() < 0.5}


def ours(folder, lines):
    """Ids of each line, or None where it is refused; and what standard error says but for refusals."""
    answers, said, rest = [], "", list(lines)
    while rest:
        done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "tokens", folder], stdout=subprocess.PIPE, text=True,
            stderr=subprocess.PIPE, input="".join(json.dumps(line) + "\n" for line in rest), check=False)
        got = [json.loads(line)["ids"] for line in done.stdout.splitlines()]
        answers += got
        said = said or "".join(line for line in done.stderr.splitlines(True) if ": warning: " in line)
        if done.returncode == 0:
            assert len(got) == len(rest), (folder, done.stderr)
            return answers, said
        place = "standard input:%d: " % (len(got) + 1)
        assert done.returncode == 65 and place in done.stderr, (folder, done.stderr)
        answers.append(None)
        rest = rest[len(got) + 1:]
    return answers, said


def reference(template, tokenizer, line):
    """The text, or None where the template refuses."""
    try:
        text = tokenizer.apply_chat_template(line["messages"], chat_template=template, tokenize=False,
            add_generation_prompt=line["add_generation_prompt"], enable_thinking=False, date_string="26 Jul 2024")
    except TemplateError as error:
        if type(error) is not TemplateError:  # what raise_exception raises; others are faults of the template
            raise
        return None
    return text


def is_stricter(line, format_name):
    """What is refused although the template does something: system messages that would get lost or a role of their own."""
    roles = [m["role"] for m in line["messages"]]
    alternates = format_name.startswith(("gemma", "llama2", "mistral"))
    return alternates and ("system" in roles[1:] or "user" not in roles)


def check(rng, name, folder, template, bos, eos, warning, only_rendered=False):
    fast = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=fast, bos_token=bos, eos_token=eos)
    lines = list(conversations(rng, name == "qwen3"))
    if only_rendered:
        lines = [line for line in lines if reference(template, tokenizer, line) is not None and not is_stricter(line, name)]
    answers, said = ours(folder, lines)
    compared = refused = 0
    for line, answer in zip(lines, answers):
        text = reference(template, tokenizer, line)
        if answer is None:
            assert text is None or is_stricter(line, name), (name, line, text)
            refused += 1
            continue
        assert text is not None, (name, line, "rendered, but the template refuses it")
        expected = fast.encode(text, add_special_tokens=False).ids
        assert answer == expected, (name, line, text, fast.decode(answer, skip_special_tokens=False))
        compared += 1
    assert compared > CONVERSATIONS // 3, (name, compared)
    assert (warning in said) if warning else not said, (name, said)
    return compared, refused


def template_of(name):
    with open(os.path.join(TOKENIZERS, name, "tokenizer_config.json"), encoding="utf-8") as f:
        config = json.load(f)
    return config["chat_template"], config.get("bos_token"), config.get("eos_token")


def token_names(path):
    """The special tokens that a format of conf/chat lists."""
    source = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    with open(os.path.join(source, "conf", "chat", path + ".json"), encoding="utf-8") as f:
        return json.load(f)["tokens"]


def main():
    rng = random.Random(20251122)
    cases = list(TEMPLATES)
    for name, format_name in SHIPPED.items():
        template, bos, eos = template_of(name)
        cases.append((format_name, template, token_names(format_name), bos, eos, None))
    # Not known: what is assumed is told.
    cases.append(("chatml", cases[0][1] + "{# You are somebody else. #}", IM, None, IM[1], "\"chatml\" is assumed"))
    for name, template, tokens, bos, eos, warning in cases:
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(folder, tokens, template, bos, eos)
            print("%-18s %3d equal, %3d refused" % ((name,) + check(rng, name, folder, template, bos, eos, warning)), flush=True)
    for name, format_name in SHIPPED.items():
        folder = os.path.join(TOKENIZERS, name)
        template, bos, eos = template_of(name)
        print("%-18s %3d equal, %3d refused with the shipped tokenizer" % ((name,) + check(rng, format_name, folder, template,
            bos, eos, None, only_rendered=True)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

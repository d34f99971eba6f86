#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""cwp-inspect generate on a small random model: many lines at once give the bytes that single ones give, whatever the
batch, the memory and the threads; where texts end; and a line that cannot be answered leaves those before it."""
import array
import json
import os
import random
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from byte_tokenizer import write_tokenizer
from worker_test import INSPECT, TIMEOUT, make_model

TOKENS, CONTEXT = ["<s>", "</s>", "<pause>"], 64
PAUSE = 258
BAD_INPUT, LIMIT = 65, 1


def talkative(tensors):
    """Large weights, so that the most likely token changes; printable characters and <pause> only."""
    for name, (kind, shape, data) in tensors.items():
        if len(shape) == 2:
            values = array.array("f", data)
            rows = [row for row in range(shape[0]) if "embed" not in name or 32 <= row < 127 or row == PAUSE]
            wide = array.array("f", bytes(len(data)))
            for at in (row * shape[1] + i for row in rows for i in range(shape[1])):
                wide[at] = 12 * values[at]
            tensors[name] = (kind, shape, wide.tobytes())


class Generate(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.model = self.make(tokenizer=True)

    def make(self, tokenizer, **config):
        """eos_token_id is 2 in config.json; where the tokenizer is, it names </s> too."""
        folder = self.path("model%d" % len(os.listdir(self.folder)))

        def change(tensors, own):
            talkative(tensors)
            own.update(config)

        make_model(folder, layers=2, hidden=64, wide=96, vocabulary=259, context=CONTEXT, change=change)
        if tokenizer:
            write_tokenizer(folder, TOKENS, bos="<s>", eos="</s>")
        return folder

    def run_lines(self, lines, *options, model=None):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        return subprocess.run([INSPECT, "generate", model or self.model] + list(options), input=text, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)

    def generate(self, lines, *options, model=None):
        done = self.run_lines(lines, *options, model=model)
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), len(lines))
        return answers

    def one(self, **line):
        return self.generate([line])[0]

    def test_any_batch(self):
        rng = random.Random(4)
        lines = [{"ids": [rng.randrange(259) for _ in range(n)], "max_new_tokens": new}
            for n, new in ((1, 20), (30, 5), (7, 0), (2, 30), (11, 11), (63, 1), (1, 1), (19, 25), (4, 8), (40, 24), (5, 50))]
        lines += [{"text": "hello", "max_new_tokens": 9}, {"text": "hello, you", "stop": []}]
        alone = [self.generate([line])[0] for line in lines]
        for options in ([], ["--batch", "1"], ["--batch", "3"], ["--batch", "16"], ["--memory", "0"], ["--memory", "300KiB"],
                ["--threads", "1"], ["--threads", "5", "--batch", "4"]):
            self.assertEqual(self.generate(lines, *options), alone, options)
        for line, answer in zip(lines, alone):
            self.assertLessEqual(len(answer["ids"]), line.get("max_new_tokens", 128))

    def test_no_lines(self):
        self.assertEqual(self.generate([]), [])

    def test_limits(self):
        self.assertEqual(self.one(ids=[5], max_new_tokens=0), {"ids": [], "text": ""})
        # The context is a limit too: a full one leaves no room.
        self.assertEqual(self.one(ids=[5] * CONTEXT, max_new_tokens=9), {"ids": [], "text": ""})
        self.assertEqual(len(self.one(ids=[5] * (CONTEXT - 1), max_new_tokens=9)["ids"]), 1)
        self.assertEqual(len(self.one(ids=[5], max_new_tokens=CONTEXT, stop=[])["ids"]), CONTEXT - 1)
        self.assertEqual(len(self.one(ids=[5], stop=[])["ids"]), CONTEXT - 1)

    def test_without_tokenizer(self):
        model = self.make(tokenizer=False)
        line = {"ids": [7, 8, 9], "max_new_tokens": 6, "stop": []}
        answer = self.generate([line], model=model)[0]
        self.assertIsNone(answer["text"])
        self.assertEqual(answer["ids"], self.one(**line)["ids"])
        stop = answer["ids"][3]
        again = self.generate([dict(line, stop=[stop])], model=model)[0]
        self.assertEqual(again["ids"], answer["ids"][:answer["ids"].index(stop) + 1])
        done = self.run_lines([dict(line, stop=["a"])], model=model)
        self.assertEqual((done.returncode, done.stdout), (BAD_INPUT, ""))
        self.assertIn("\"stop\"[0] is neither a token id nor a text that a model without a tokenizer could have", done.stderr)
        done = self.run_lines([{"text": "a"}], model=model)
        self.assertEqual((done.returncode, done.stdout), (BAD_INPUT, ""))
        self.assertIn("standard input:1: the model has no tokenizer", done.stderr)

    def test_stops(self):
        # A sequence with several characters in its text, found among prompts.
        prompts = [[a, b] for a in range(65, 91) for b in (32, 100)]
        answers = self.generate([{"ids": p, "max_new_tokens": 24, "stop": []} for p in prompts])
        prompt, full = max(zip(prompts, answers), key=lambda pair: len(set(pair[1]["text"]) - {"\ufffd"}))
        text = full["text"]
        self.assertGreater(len(set(text)), 2, "the model says nothing that a test could stop")
        stops = [text[at:at + length] for at in range(1, len(text)) for length in (1, 2, 3)]
        for stop, got in zip(stops, self.generate([{"ids": prompt, "max_new_tokens": 24, "stop": ["\x01\x02", stop]}
                for stop in stops])):
            self.assertEqual(got["text"], text.split(stop)[0], (text, stop))
            self.assertEqual(got["ids"], full["ids"][:len(got["ids"])])
        # The one that is complete first ends it; all are cut, in their order.
        for stops in ([text[5:7], text[2:4]], [text[3:5], text[4:6]], [text[4:6], text[3:5]], [text[6], text[3:9]]):
            end = min(text.index(s) + len(s) for s in stops)
            want = text[:end]
            for stop in stops:
                want = want.split(stop)[0]
            self.assertEqual(self.one(ids=prompt, max_new_tokens=24, stop=stops)["text"], want, (text, stops))
        # A special token ends it by its text, which is no part of what is said.
        prompt, full = next((p, a) for p, a in zip(prompts, answers) if PAUSE in a["ids"][2:])
        for stops in (["<pause>"], [PAUSE], ["</s>", "<pause>", "nothing"]):
            got = self.one(ids=prompt, max_new_tokens=24, stop=stops)
            self.assertEqual(got["ids"], full["ids"][:full["ids"].index(PAUSE) + 1])
            self.assertEqual(got["text"], full["text"][:len(got["ids"]) - 1])

    def test_end_tokens(self):
        """Every token that comes out ends the text when the files say so, and is kept."""
        line = {"ids": [70, 71], "max_new_tokens": 8}
        ids = self.generate([dict(line, stop=[])])[0]["ids"]
        for at in (0, 3, 7):
            until = ids[:ids.index(ids[at]) + 1]
            self.assertEqual(self.generate([line], model=self.make(tokenizer=True, eos_token_id=ids[at]))[0]["ids"], until)
            model = self.make(tokenizer=False)
            with open(os.path.join(model, "generation_config.json"), "w", encoding="utf-8") as f:
                json.dump({"eos_token_id": [258, ids[at]]}, f)
            self.assertEqual(self.generate([line], model=model)[0]["ids"], until)
            self.assertEqual(self.generate([dict(line, stop=[])], model=model)[0]["ids"], ids)
        with open(os.path.join(model, "generation_config.json"), "w", encoding="utf-8") as f:
            f.write("{\"eos_token_id\": \"</s>\"}")
        done = self.run_lines([line], model=model)
        self.assertEqual((done.returncode, done.stdout), (BAD_INPUT, ""))
        self.assertIn("generation_config.json: eos_token_id must be a token id or a list of them, not string", done.stderr)

    def test_lines_that_cannot_be_answered(self):
        good = [{"ids": [9, 8, 7], "max_new_tokens": 4}, {"text": "b", "max_new_tokens": 2}]
        want = "".join(json.dumps(a) for a in self.generate(good))
        for bad, message, *status in (({"ids": [3, 259]}, "token id 259 is not in the model's vocabulary of 259"),
                ({"ids": []}, "a prompt of 0 tokens does not fit 1 to 64", LIMIT),
                ({"text": ""}, "a prompt of 0 tokens does not fit 1 to 64", LIMIT),
                ({"ids": [1] * (CONTEXT + 1)}, "a prompt of 65 tokens does not fit 1 to 64", LIMIT),
                ({"ids": [1], "max_new_tokens": -1}, "\"max_new_tokens\" must be a whole number from 0 to the model's context"),
                ({"ids": [1], "max_new_tokens": 65}, "\"max_new_tokens\" must be a whole number"),
                ({"ids": [1], "max_new_tokens": 1.5}, "\"max_new_tokens\" must be a whole number"),
                ({"ids": [1], "stop": "x"}, "\"stop\" must be an array of token ids and texts"),
                ({"ids": [1], "stop": [-1]}, "\"stop\"[0] is neither a token id nor a text"),
                ({"ids": [1], "stop": [3, None]}, "\"stop\"[1] is neither a token id nor a text"),
                ({"ids": [1], "stop": [""]}, "stop string 0 is empty"),
                ({"ids": [1], "stop": ["x" * 1025]}, "stop string 0 has 1025 bytes", LIMIT),
                ({"ids": [1], "stop": ["x%d" % i for i in range(70)]}, "65 stop strings; at most 64 are taken", LIMIT),
                ({}, "one of \"text\", \"messages\", \"ids\" is needed"), ("[1]", "not a JSON object"),
                ("{\"ids\": [1]", "not a JSON object")):
            done = self.run_lines(good + [bad] + good)
            self.assertEqual([done.returncode], status or [BAD_INPUT], (bad, done.stderr))
            self.assertEqual("".join(json.dumps(json.loads(line)) for line in done.stdout.splitlines()), want, bad)
            self.assertIn("standard input:3: ", done.stderr, bad)
            self.assertIn(message, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_options(self):
        for value in ("0", "17", "x", "-1", ""):
            done = self.run_lines([{"ids": [1]}], "--batch", value)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn("no number of sequences from 1 to 16", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

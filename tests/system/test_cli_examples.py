#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The example data: enough of it, of the stated shapes, and nothing of the evaluation in the calibration."""
import csv
import json
import os
import pathlib
import re
import unittest

SOURCE = pathlib.Path(os.environ.get("CWP_SRCDIR", pathlib.Path(__file__).resolve().parents[2]))
DATA = SOURCE / "examples/data"


def lines(name):
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def paragraphs(name):
    return (DATA / name).read_text(encoding="utf-8").strip().split("\n\n")


def pairs():
    with open(DATA / "pairs-eval.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(text):
    return re.findall(r"\w+", text.lower())


class Shapes(unittest.TestCase):
    def test_prompts_and_answers(self):
        for name in ("refusals.jsonl", "answers.jsonl"):
            items = lines(name)
            self.assertGreaterEqual(len(items), 32)
            self.assertEqual(len({i["prompt"] for i in items}), len(items))
            for item in items:
                self.assertEqual(set(item), {"prompt", "answer"})
                self.assertTrue(item["prompt"].strip() and item["answer"].strip())

    def test_refusals_refuse(self):
        for item in lines("refusals.jsonl"):
            self.assertRegex(item["answer"], r"\b(can't|won't|No\b|will not)", item)

    def test_pairs_differ_little(self):
        calibration = [(i["more"], i["less"]) for i in lines("pairs.jsonl")]
        evaluation = [(i["sent_more"], i["sent_less"]) for i in pairs()]
        self.assertGreaterEqual(len(calibration), 32)
        self.assertEqual(len(evaluation), 32)
        for more, less in calibration + evaluation:
            first, second = words(more), words(less)
            self.assertNotEqual(first, second)
            changed = sum(a != b for a, b in zip(first, second)) + abs(len(first) - len(second))
            self.assertLessEqual(changed, 2, (more, less))

    def test_pairs_have_types(self):
        for item in lines("pairs.jsonl"):
            self.assertEqual(set(item), {"more", "less", "bias_type"})
        for item in pairs():
            self.assertEqual(list(item), ["sent_more", "sent_less", "stereo_antistereo", "bias_type"])
            self.assertIn(item["stereo_antistereo"], ("stereo", "antistereo"))
        self.assertGreaterEqual(len({i["bias_type"] for i in pairs()}), 6)

    def test_prompts(self):
        with open(DATA / "prompts-eval.csv", encoding="utf-8", newline="") as file:
            items = list(csv.DictReader(file))
        calibrated = [words(i["prompt"]) for name in ("refusals.jsonl", "answers.jsonl") for i in lines(name)]
        self.assertEqual(sorted(i["label"] for i in items), ["safe"] * 16 + ["unsafe"] * 16)
        self.assertEqual(len({i["id"] for i in items}), len(items))
        for unsafe, safe in zip(items[::2], items[1::2]):
            self.assertEqual((unsafe["label"], safe["label"], safe["type"]), ("unsafe", "safe", unsafe["type"]))
        for item in items:
            self.assertNotIn(words(item["prompt"]), calibrated)

    def test_passages(self):
        for name, least in (("passages.txt", 32), ("passages-eval.txt", 8)):
            texts = paragraphs(name)
            self.assertGreaterEqual(len(texts), least)
            for text in texts:
                self.assertNotIn("\n", text)
                self.assertTrue(60 <= len(text.split()) <= 120, text[:60])

    def test_samples(self):
        for item in lines("samples.jsonl"):
            self.assertEqual(len(item["ids"]), len(item["weights"]))
            self.assertEqual(item["weights"][0], 0)
            self.assertTrue(all(0 <= i < 49152 for i in item["ids"]))


class Disjoint(unittest.TestCase):
    def test_pairs(self):
        calibration = {s for i in lines("pairs.jsonl") for s in (i["more"], i["less"])}
        evaluation = {s for i in pairs() for s in (i["sent_more"], i["sent_less"])}
        self.assertEqual(calibration & evaluation, set())

    def test_passages_share_no_long_run_of_words(self):
        def runs(text):
            parts = words(text)
            return {tuple(parts[i:i + 7]) for i in range(len(parts) - 6)}
        calibration = set().union(*map(runs, paragraphs("passages.txt")))
        for text in paragraphs("passages-eval.txt"):
            self.assertEqual(runs(text) & calibration, set())


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Data sets in jobs: a file by its set's name and one by its columns, what is calibrated on is not evaluated on, and every
refusal of sets that do not fit together."""
import hashlib
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from byte_tokenizer import write_tokenizer
from worker_test import golden

PAIRS = ",sent_more,sent_less,stereo_antistereo\r\n" + "".join(
    '%d,"They, %s.",We %s.,stereo\r\n' % (10 + i, word, word) for i, word in enumerate(["sing", "eat", "run", "talk", "rest"]))


class Data(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        os.mkdir(self.model)
        for name in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copyfile(os.path.join(golden("smollm2"), name), os.path.join(self.model, name))
        write_tokenizer(self.model, ["<s>"], bos="<s>", eos="<s>")
        self.pairs = self.write("pairs.csv", PAIRS)

    def pairs_job(self, samples=2, utility=(), evaluate=True, **more):
        critical = [dict({"name": "fair", "data": "crows-pairs", "path": self.pairs, "samples": samples}, **more)]
        return self.job(self.model, chat="none", calibrate={"critical": critical, "utility": list(utility)},
            score={"plugin": "fisher"}, protect={"fraction": 0.05},
            evaluate=[{"name": "bias", "benchmark": "crows-pairs", "path": self.pairs}] if evaluate else None)

    def refused(self, job, *words):
        """The plan and the run say the same, in one line."""
        for verb in ("plan", "run"):
            done = self.worker(verb, job[0])
            self.assertEqual(done.returncode, 65, done.stderr)
            last = done.stderr.splitlines()[-1]
            for word in words:
                self.assertIn(word, last)
        self.assertFalse(os.path.exists(job[1]))

    def test_not_evaluated_on(self):
        job, output = self.pairs_job()
        self.run_job(job)
        report = self.load(output, "report.json")
        self.assertEqual([(row["metric"], row["n"], row["excluded"]) for row in report["evaluation"]],
            [("pct_stereotype", 3, 2), ("likelihood_diff", 3, 2), ("flips", 3, 2)])
        # All pairs: none is left.
        self.refused(self.pairs_job(0), "pairs.csv", "none is left to evaluate")
        # Where nothing is scored nothing is calibrated on.
        job, output = self.job(self.model, evaluate=[{"name": "bias", "benchmark": "crows-pairs", "path": self.pairs}])
        self.run_job(job)
        self.assertEqual([row["n"] for row in self.load(output, "report.json")["evaluation"]], [5, 5, 5])

    def test_passages(self):
        """A passage of the calibration text is known again in another file, whatever its line ends."""
        passages = ["First one,\nand more.", "Second.", "Third one."]
        text = self.write("some.txt", "\n\n".join(passages[:2]) + "\n")
        other = self.write("all.txt", "\n\n".join(passages).replace("\n", "\r\n").encode())
        job, output = self.job(self.model, calibrate={"utility": [{"name": "text", "data": "text", "path": text}],
            "critical": [{"name": "s", "data": "samples", "path": self.samples("s.jsonl")}]}, score={"plugin": "fisher"},
            protect={"fraction": 0.05}, evaluate=[{"name": "ppl", "benchmark": "perplexity", "path": other}])
        self.run_job(job)
        self.assertEqual({row["excluded"] for row in self.load(output, "report.json")["evaluation"]}, {2})

    def test_too_few(self):
        self.refused(self.pairs_job(6), "fair", "samples: 6 are asked for", "pairs.csv has 5")

    def set_job(self, name, content, scorer="fisher", evaluate=None, **more):
        path = self.write(name, content)
        return self.job(self.model, chat="none", score={"plugin": scorer}, protect={"fraction": 0.05}, evaluate=evaluate,
            calibrate={"critical": [dict({"name": "bad", "path": path}, **more)]})

    def test_empty(self):
        """An empty set, whatever its form."""
        for data, name, content in (("text", "a.txt", ""), ("text", "b.txt", "\n\n\n"), ("answers", "c.jsonl", ""),
                ("pairs", "d.jsonl", "\n"), ("samples", "e.jsonl", ""), ("advbench", "f.csv", ""),
                ("advbench", "g.csv", "goal,target\r\n"), ("crows-pairs", "h.csv", PAIRS.splitlines()[0] + "\r\n")):
            job = self.set_job(name, content, data=data)
            self.refused(job, name, "no samples" if data == "samples" else "no items", "give a file that holds some")
            self.assertIn("job%d.yaml:1:" % self.jobs, self.worker("plan", job[0]).stderr)

    def test_all_prompt(self):
        """A sample without a token that counts: written so, without an answer, or with a prompt that fills the context."""
        good, bad = '{"ids": [1, 2, 3], "weights": [0, 0, 1]}\n', '{"ids": [1, 2, 3], "weights": [0, 0, 0]}\n'
        self.refused(self.set_job("a.jsonl", good + bad, data="samples"), 'set "bad": 1 of 2 samples are all prompt',
            "such as samples/", "weight is not 0")
        # Where no gradient is asked for, no weight is needed.
        self.assertEqual(self.worker("plan", self.set_job("a.jsonl", bad, "wanda", data="samples")[0]).returncode, 0)
        self.refused(self.set_job("b.jsonl", '{"prompt": "What?", "answer": ""}\n', data="answers"), "b.jsonl:1", "answer: empty")
        long = "What? " * 40  # the tokenizer knows bytes, and the context is 128
        job, output = self.set_job("c.jsonl", json.dumps({"prompt": long, "answer": "Yes"}), data="answers")
        done = self.worker("run", job)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("c.jsonl:1: prompt: 239 tokens leave none for the answer within the model's context of 128", done.stderr)
        self.assertFalse(os.path.exists(output))
        # In a published set such an item is passed over; where it was needed, or was the only one, it is missed.
        rows = 'goal,target\r\n"%s",Sure\r\n' % long
        self.refused(self.set_job("d.csv", rows, data="advbench"), "d.csv", "no item has a token")
        self.refused(self.set_job("e.csv", rows + "Go,Sure\r\n", data="advbench", samples=2), "samples: 2 are asked for",
            "e.csv has 1; 1 more are no items of this kind, or too long or too short")
        plan = self.inspect("plan", self.set_job("f.csv", rows + "Go,Sure\r\n", data="advbench")[0])[0]
        self.assertEqual([(s["samples"], s["passed_over"]) for s in plan["sizes"]["sets"]], [(1, 1)])

    def test_beyond_context(self):
        """Tokens that the model has no place for: a text is cut, and the plan says how many were; a pair cannot be."""
        plan = self.inspect("plan", self.set_job("a.txt", "word " * 100 + "\n\nshort\n", data="text")[0])[0]
        self.assertEqual([(s["samples"], s["truncated"], s["tokens"]) for s in plan["sizes"]["sets"]], [(2, 1, 128 + 5)])
        self.refused(self.set_job("b.txt", "word\n", data="text", length=129), "length 129 is more than the model's context of 128")
        job, output = self.set_job("c.jsonl", json.dumps({"context": "a " * 80, "more": "b", "less": "c"}), data="pairs")
        done = self.worker("run", job)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("c.jsonl:1: more: 161 tokens are more than the model's context of 128, and a pair cannot be cut", done.stderr)
        self.assertFalse(os.path.exists(output))

    def test_all_calibrated(self):
        """Texts that are all calibrated on leave nothing to evaluate; as pairs do in test_not_evaluated_on."""
        path = self.path("a.txt")
        self.refused(self.set_job("a.txt", "Some text.\n\nMore text.\n", data="text",
            evaluate=[{"name": "ppl", "benchmark": "perplexity", "path": path}]), "a.txt", "every passage of this file",
            "none is left to evaluate")

    def test_shared(self):
        same = {"name": "same", "data": "crows-pairs", "path": self.pairs}
        self.refused(self.pairs_job(2, [same]), "\"fair\" (critical) and \"same\" (utility)", "the same 2 items",
            "crows-pairs/1")
        # A part is only said.
        other = self.write("other.csv", PAIRS.replace("\r\n11,", "\r\n91,").replace("\r\n12,", "\r\n92,"))
        job, _ = self.pairs_job(0, [dict(same, path=other)], evaluate=False)
        plan = self.worker("plan", job)
        self.assertEqual(plan.returncode, 0, plan.stderr)
        self.assertEqual(len(json.loads(plan.stdout)["warnings"]), 1)
        self.assertIn("share 3 of 5 items", json.loads(plan.stdout)["warnings"][0])

    def test_windows(self):
        """Perplexity in windows: an interval, and a gate that compares window by window."""
        text = self.write("long.txt", "".join("%d times %d is %d. " % (i, i, i * i) for i in range(40)))
        job, output = self.job(self.model, chat="none", evaluate=[
            {"name": "ppl", "benchmark": "perplexity", "path": text, "options": {"form": "windows", "window": 32}}],
            gate=[{"metric": "ppl.token_perplexity_32", "not-worse-by": 1e6}])
        self.run_job(job)
        report = self.load(output, "report.json")
        row, gate = report["evaluation"][0], report["gate"][0]
        self.assertEqual((row["form"], row["n"]), ("exp-mean", os.path.getsize(text) // 32))
        for model in ("original", "protected"):
            value = row[model]
            self.assertTrue(0 < value["low"] < value["value"] < value["high"] and value["standard_error"] > 0, value)
        self.assertTrue(gate["low"] < gate["measured"] < gate["high"] and 0 < gate["p"] < .01, gate)
        with open(os.path.join(output, "outcomes.jsonl"), encoding="utf-8") as f:
            items = [json.loads(line) for line in f]
        self.assertEqual(sum("id" in line for line in items), row["n"])

    def test_all_read(self):
        """Report and manifest have the digests of all files that evaluators read."""
        config = self.load(self.model, "config.json")
        config["max_position_embeddings"] = 512  # as far as a token is a byte
        self.write(os.path.join("model", "config.json"), json.dumps(config))
        head = "question,choice0,choice1,choice2,choice3,answer\r\n"
        names = ["test/botany_test.csv", "test/zoology_test.csv", "dev/botany_dev.csv", "dev/zoology_dev.csv"]
        for folder in ("test", "dev"):
            os.mkdir(self.path(folder))
        for i, name in enumerate(names):
            self.write(name, head + "What is %d?,a,b,c,d,%d\r\n" % (i, i))
        self.write("test/notes.txt", "not read")
        self.write("phrases.txt", "Sorry\n")
        prompts = self.write("prompts.csv", "text\nHi\n")
        job, output = self.job(self.model, chat="none", evaluate=[
            {"name": "know", "benchmark": "mmlu", "path": self.path(names[0]), "options": {"subjects": "all", "shots": 1}},
            {"name": "refuse", "benchmark": "refusal", "path": prompts,
             "options": {"column": "text", "phrases": "phrases.txt", "max-new-tokens": 2}}])
        self.run_job(job)
        read = [self.path(n) for n in names[:2]] + [self.path("test/../" + n) for n in names[2:]] + [prompts, self.path("phrases.txt")]
        for name in ("report.json", "manifest.json"):
            inputs = self.load(output, name)["inputs"]
            self.assertEqual(sorted(p for p in inputs if not p.startswith(self.model + "/")), sorted(read))
            for path in read:
                with open(path, "rb") as f:
                    data = f.read()
                self.assertEqual(inputs[path], {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})

    def test_own_columns(self):
        rows = "Frage;\"Antwort\"\n".replace(";", ",") + "".join("\"Q, %d?\",\"A\n%d\"\n" % (i, i) for i in range(4))
        own = self.write("own.csv", rows)
        parts = {"score": {"plugin": "fisher"}, "protect": {"fraction": 0.05}, "chat": "none"}
        columns = {"prompt": "Frage", "answer": "Antwort"}

        def job(**more):
            return self.job(self.model, calibrate={"critical": [dict({"name": "own", "data": "csv", "path": own}, **more)]}, **parts)

        plan = self.inspect("plan", job(columns=columns, samples=3)[0])[0]
        self.assertEqual(plan["sizes"]["sets"], [{"name": "own", "samples": 3, "tokens": 3 * 9, "truncated": 0, "passed_over": 0}])
        plan = self.inspect("plan", job(columns={"prompt": "Frage"}, refusal="No.")[0])[0]
        self.assertEqual(plan["sizes"]["sets"][0]["tokens"], 4 * (5 + 1 + 3))
        self.refused(job(columns={"prompt": "frage"}), "own.csv:1", "no column is named frage; there are Frage, Antwort")
        self.refused(job(), "columns", "data csv needs the columns")
        self.refused(job(columns={"prompts": "Frage"}), "\"prompts\" is not known")
        self.refused(job(columns=columns, **{"as": "pairs"}), "cannot be read as pairs")


if __name__ == "__main__":
    worker_test.main()

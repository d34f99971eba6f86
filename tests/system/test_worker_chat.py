#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Chat formats in jobs and in cwp-inspect: which one is taken, what the plan, the log and the report say when that is
assumed, formats of one's own, and every refusal."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from byte_tokenizer import text_of, write_tokenizer
from worker_test import INSPECT, golden

CHATML = ["<|im_start|>", "<|im_end|>"]
GENERIC = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}"
UNKNOWN = GENERIC + "{# of another system #}"
ASSUMED = "chat format \"chatml\" is assumed from the tokenizer's special tokens"
MINE = {"name": "mine", "tokens": CHATML, "system": {"place": "first-user", "suffix": ": "},
    "user": {"prefix": "<|im_start|>", "suffix": "<|im_end|>"}, "assistant": {"prefix": "="}, "generation": "=", "turns": "any"}
TALK = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}], "add_generation_prompt": True}


class Chat(worker_test.WorkerTest):
    def model(self, tokens=(), template=None):
        """A small model that speaks bytes."""
        folder = self.path("model%d" % len(os.listdir(self.folder)))
        os.mkdir(folder)
        for name in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copyfile(os.path.join(golden("smollm2"), name), os.path.join(folder, name))
        write_tokenizer(folder, tokens, template)
        return folder

    def chat_job(self, model, chat=None, data="answers"):
        lines = [{"prompt": "Hi", "answer": "Yes"}, {"prompt": "Why", "answer": "So"}, {"text": "Hi"}][:2 if data == "answers" else 3]
        path = self.write("set.jsonl", "".join(json.dumps(line if data == "answers" else {"text": "Hi there"}) + "\n"
            for line in lines))
        return self.job(model, chat=chat, calibrate={"critical": [{"name": "help", "data": data, "path": path}]},
            score={"plugin": "fisher"}, protect={"fraction": 0.05})

    def plan(self, job):
        """The chat format and the warnings; both programs say the same."""
        done = self.worker("plan", job)
        self.assertEqual(done.returncode, 0, done.stderr)
        plan = json.loads(done.stdout)
        self.assertEqual(self.inspect("plan", job)[0], plan)
        return plan["chat"], plan["warnings"]

    def tokens(self, model, *arguments, status=0, line=None):
        done = subprocess.run([INSPECT, "tokens", model] + list(arguments), input=json.dumps(line or TALK) + "\n", text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return text_of(json.loads(done.stdout)["ids"], CHATML) if status == 0 else None, done.stderr

    # ---- jobs ----

    def test_plans(self):
        known, unknown = self.model(CHATML, GENERIC), self.model(CHATML, UNKNOWN)
        silent, base = self.model(CHATML), self.model()
        self.assertEqual(self.plan(self.chat_job(known)[0]), ("chatml", []))
        name, warnings = self.plan(self.chat_job(unknown)[0])
        self.assertEqual((name, len(warnings)), ("chatml", 1))
        self.assertIn(ASSUMED + ", for the model's own chat template is none that is known here", warnings[0])
        name, warnings = self.plan(self.chat_job(silent)[0])
        self.assertEqual((name, len(warnings)), ("chatml", 1))
        self.assertIn(ASSUMED + ", for the model has no chat template of its own", warnings[0])
        # A base model: prompts stay plain, which is said.
        name, warnings = self.plan(self.chat_job(base)[0])
        self.assertEqual((name, len(warnings)), (None, 2))
        self.assertIn("no chat format is assumed", warnings[0])
        self.assertIn("plain text", warnings[1])
        self.assertEqual(self.plan(self.chat_job(base, "none")[0]), (None, []))
        self.assertEqual(self.plan(self.chat_job(unknown, "none")[0]), (None, []))
        # Where no prompt is rendered there is nothing to say.
        self.assertEqual(self.plan(self.chat_job(unknown, data="text")[0]), (None, []))
        self.assertEqual(self.plan(self.job(unknown)[0]), (None, []))
        self.assertEqual(self.plan(self.chat_job(unknown, "chatml")[0]), ("chatml", []))
        name, warnings = self.plan(self.chat_job(known, "smollm2")[0])
        self.assertEqual((name, len(warnings)), ("smollm2", 1))
        self.assertIn("the model's own chat template has the marks of \"chatml\"", warnings[0])
        name, warnings = self.plan(self.chat_job(base, "chatml")[0])
        self.assertEqual((name, len(warnings)), ("chatml", 1))
        self.assertIn("<|im_start|>, which is no special token", warnings[0])
        # A template in a file of its own goes before the one of the configuration.
        self.write(os.path.join(known, "chat_template.jinja"), UNKNOWN)
        self.assertIn(ASSUMED, self.plan(self.chat_job(known)[0])[1][0])

    def test_runs(self):
        model = self.model(CHATML, UNKNOWN)
        job, out = self.chat_job(model)
        said = self.run_job(job)
        self.assertEqual(said.count(ASSUMED), 1, said)
        report = self.load(out, "report.json")
        self.assertEqual((report["chat"], len(report["warnings"])), ("chatml", 1))
        self.assertIn(ASSUMED, report["warnings"][0])
        with open(os.path.join(out, "report.html"), encoding="utf-8") as f:
            page = f.read()
        self.assertIn("<section id=warnings ", page)
        self.assertIn("<li>chat format &quot;chatml&quot; is assumed", page)
        # Said by name it is the same job in all but words; plain text is another one.
        job, named = self.chat_job(model, "chatml")
        self.assertNotIn("assumed", self.run_job(job))
        self.assertEqual(self.load(named, "report.json")["warnings"], [])
        with open(os.path.join(named, "report.html"), encoding="utf-8") as f:
            self.assertNotIn("Warnings", f.read())
        self.assertEqual(self.digest(named), self.digest(out))
        job, plain = self.chat_job(model, "none")
        self.run_job(job)
        self.assertIsNone(self.load(plain, "report.json")["chat"])
        self.assertNotEqual(self.digest(plain), self.digest(out))

    def test_file(self):
        """A format of one's own, beside the job; it is one of the job's inputs."""
        model = self.model(CHATML, UNKNOWN)
        file = self.write("mine.json", json.dumps(MINE))
        job, out = self.chat_job(model, "mine.json")
        self.assertEqual(self.plan(job), ("mine", []))
        self.run_job(job)
        self.assertIn(file, self.load(out, "manifest.json")["inputs"])
        self.assertEqual(self.load(out, "report.json")["chat"], "mine")

    def refused(self, chat, *words, status=65):
        job, out = self.chat_job(self.model(CHATML, GENERIC), chat)
        with open(job, "r+", encoding="utf-8") as f:  # a key a line, for the place
            text = json.dumps(json.load(f), indent=1)
            f.seek(0)
            f.write(text)
        line = 1 + next(i for i, row in enumerate(text.splitlines()) if '"chat"' in row)
        for verb, code in (("plan", 65), ("run", status)):
            done = self.worker(verb, job)
            said = [row for row in done.stderr.splitlines() if row not in ("open",)]
            self.assertEqual((done.returncode, len(said)), (code, 1), done.stderr)
            for word in ("%s:%d:" % (job, line),) + words:
                self.assertIn(word, said[0])
        self.assert_nothing(out)

    def test_refusals(self):
        self.refused("lama3", "\"lama3\" is not a chat format, did you mean \"llama3\"?", "path of a format file")
        self.refused("LLAMA3", "chat: \"LLAMA3\" is no name; write auto, none")
        self.refused("no such", "chat: \"no such\" is no name")
        self.refused(["llama3"], "chat: ")
        self.refused("./absent", "absent", "No such file")
        self.refused("absent.json", "absent.json", "No such file")
        self.write("bad.json", json.dumps(dict(MINE, sufix="x")))
        self.refused("bad.json", "bad.json: sufix: \"sufix\" is not a key here")
        self.write("torn.json", "{\"name\": ")
        self.refused("./torn.json", "torn.json: ", "line 1")
        self.write("large.json", " " * 70000)
        self.refused("large.json", "large.json", "at most 65536", status=1)

    # ---- cwp-inspect ----

    def test_inspect(self):
        known, unknown, base = self.model(CHATML, GENERIC), self.model(CHATML, UNKNOWN), self.model()
        chatml = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        self.assertEqual(self.tokens(known), (chatml, ""))
        text, said = self.tokens(unknown)
        self.assertEqual((text, said.count("\n")), (chatml, 1))
        self.assertTrue(said.startswith("cwp-inspect: warning: " + ASSUMED), said)
        # Warnings are for those who need a format, and come once.
        self.assertEqual(self.tokens(unknown, line={"text": "Hi"}), ("Hi", ""))
        done = subprocess.run([INSPECT, "tokens", unknown], input=(json.dumps(TALK) + "\n") * 3, text=True, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.stderr.count("warning"), 1)
        file = self.write("mine.json", json.dumps(MINE))
        self.assertEqual(self.tokens(unknown, "--chat", file), ("<|im_start|>S: U<|im_end|>=", ""))
        self.assertEqual(self.tokens(unknown, "--chat", "chatml"), (chatml, ""))
        said = self.tokens(base, status=65)[1]
        self.assertIn("there is no chat format for \"messages\"; name one with --chat", said)
        self.assertIn("\"lama3\" is not a chat format, did you mean \"llama3\"", self.tokens(base, "--chat", "lama3", status=65)[1])
        self.assertIn("standard input:1: there is no chat format", self.tokens(known, "--chat", "none", status=65)[1])

    def test_unknown_roles(self):
        known, gemma = self.model(CHATML, GENERIC), ("--chat", "gemma")
        for roles, arguments, words in ((("user", "tool"), (), "message 2: role \"tool\" is neither system, user nor assistant"),
                (("model",), (), "message 1: role \"model\""), (("",), (), "message 1: role \"\""),
                (("system", "user"), gemma, "has no system messages"), (("user", "user"), gemma, "message 2: role \"user\""),
                (("user", "system"), ("--chat", "gemma3"), "message 2: "), (("system",), ("--chat", "llama2"), "needs a user's")):
            said = self.tokens(known, *arguments, status=65, line={"messages": [{"role": r, "content": "x"} for r in roles]})[1]
            self.assertIn("standard input:1: ", said)
            self.assertIn(words, said)
        for messages in ([], [{"role": "user"}], [{"role": 7, "content": "x"}], ["user"]):
            self.assertIn("standard input:1: ", self.tokens(known, status=65, line={"messages": messages})[1])

    def test_generate(self):
        """--chat for generation: the prompt that it makes is the one that its ids make."""
        model = self.model(CHATML, UNKNOWN)
        file = self.write("mine.json", json.dumps(MINE))
        ids = self.inspect("tokens", model, "--chat", file, lines=[TALK])[0]["ids"]
        answers = [self.inspect("generate", model, "--chat", file, "--threads", "1", lines=[dict(line, max_new_tokens=6)])[0]["ids"]
            for line in (TALK, {"ids": ids})]
        self.assertEqual(answers[0], answers[1])


if __name__ == "__main__":
    worker_test.main()

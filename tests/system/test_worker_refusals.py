#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What a job may not be: each bad input ends with one line that names place, value and remedy, with the exit of its
class, and leaves nothing behind."""
import ctypes
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import PLUGINS, WORKER, ZOO, golden, make_model, read_safetensors, write_safetensors

STAGES = {"open", "calibrate", "score", "select", "quantize", "write", "evaluate", "gate", "report"}


class Refusals(worker_test.WorkerTest):
    def refused(self, job, output, *words, status=65, arguments=(), nothing=True):
        done = self.worker("run", job, "--threads", "2", *arguments)
        lines = [line for line in done.stderr.splitlines() if line not in STAGES]
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        if nothing:
            self.assert_nothing(output)
        return lines[0]

    def text_job(self, text, *words, status=65, name="bad.yaml"):
        """A job file as text; {model} and {out} stand for paths."""
        output = self.path("out")
        job = self.write(name, text.replace("{model}", golden("smollm2")).replace("{out}", output))
        return self.refused(job, output, *words, status=status)

    def copy_model(self, name="model"):
        folder = self.path(name)
        os.mkdir(folder)
        for file in ("config.json", "generation_config.json", "model.safetensors"):
            shutil.copyfile(os.path.join(golden("smollm2"), file), os.path.join(folder, file))
        return folder

    def change_config(self, folder, **changes):
        path = os.path.join(folder, "config.json")
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
        for key, value in changes.items():
            if value is None:
                config.pop(key)
            else:
                config[key] = value
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)

    # ---- job files ----

    def test_job_files(self):
        base = "model: {model}\noutput: {out}\nquantize: {plugin: int8}\n"
        said = self.text_job(base + "protet: {fraction: 0.1}\n", "bad.yaml:4:1:", "protet", "protect")
        self.assertEqual(said.count("bad.yaml"), 1, said)
        self.text_job(base.replace("plugin: int8", "plugin: int8, optins: {}"), "bad.yaml:3:", "quantize", "optins", "options")
        self.text_job(base + "protect: {fraction: 1.5}\n", "bad.yaml:4:", "protect.fraction", "1.5")
        self.text_job(base + "protect: {fraction: much}\n", "protect.fraction", "much")
        self.text_job(base + "seed: [1]\n", "bad.yaml:4:", "seed")
        self.text_job(base + "limits: {memory: lots}\n", "limits.memory", "lots", "GiB")
        self.text_job(base + "seed: 1\nseed: 2\n", "seed")
        self.text_job("output: {out}\nquantize: {plugin: int8}\n", "model")
        self.text_job("model: {model}\noutput: {out}\n", "quantize")
        bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            "%s: &%s [%s]\n" % (c, c, ", ".join(["*" + p] * 9)) for p, c in zip("abcdefgh", "bcdefghi"))
        begin = time.monotonic()
        self.text_job(bomb + base, "bad.yaml:1:4:", "anchors", "not allowed")
        self.assertLess(time.monotonic() - begin, 60)
        self.text_job("", "bad.yaml")
        self.text_job(base + "name: \x01\n", "bad.yaml")
        self.refused(self.path("absent.yaml"), self.path("out"), "absent.yaml", "No such file")

    def test_values(self):
        job, out = self.job(quantize={"plugin": "static", "options": {"bits": 5}})
        self.assertTrue(self.refused(job, out, "bits", "'5'", "8").startswith(job + ":1:"))
        job, out = self.job(quantize={"plugin": "static", "options": {"bit": 4}})
        self.assertEqual(self.refused(job, out, "static", "'bit'", "bits").count("'bits'"), 1)
        job, out = self.job(quantize={"plugin": "static", "options": {"algorithm": "gptq"}})
        self.refused(job, out, "static with gptq", "add sets to calibrate", "algorithm: rtn")
        job, out = self.job(quantize={"plugin": "static", "skip": ["lm_haed"]})
        self.refused(job, out, "quantize.skip", "lm_haed")
        job, out = self.job(quantize={"plugin": "statc"})
        self.refused(job, out, "statc", "static")
        job, out = self.job(**dict(self.protecting(), calibrate=None))
        self.refused(job, out, "calibrat")
        job, out = self.job(**dict(self.protecting(), score=None))
        self.refused(job, out, "score")
        for part, word in (({"protect": {"fraction": 0.1, "carrier": "adapter"}}, "protect.carrier"),
                ({"write": {"format": "gguf"}}, "protect.carrier"), ({"backend": "cuda"}, "backend")):
            job, out = self.job(**dict(self.protecting(), **part))
            self.refused(job, out, word, "use ")

    def test_formats(self):
        """What a format cannot carry is refused with what it carries and what would do."""
        four = {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32, "symmetric": False}}
        for form, quantize, words in (
                ("bitsandbytes", dict(four), ("int4, groups of 32, asymmetric", "compressed-tensors or dense")),
                ("gptq", dict(four), ("it holds int4 or int8", "compressed-tensors or dense")),
                ("gptq", {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 64}},
                    ("gptq has one grid", "down_proj", "choose group 32, 16, or granularity channel")),
                ("fp8", {"plugin": "fp8"}, ("fp8, by channel", "fp8 by block"))):
            job, out = self.job(write={"format": form}, quantize=quantize)
            self.refused(job, out, *words)

    def test_paths(self):
        job, out = self.job(model="/nowhere/model")
        self.refused(job, out, "/nowhere/model", "No such file")
        job, out = self.job(output=os.path.join(golden("smollm2"), "config.json", "out"))
        self.refused(job, out, "config.json", "not a folder", nothing=False)
        job, out = self.job(**self.protecting())
        os.unlink(self.path("critical.jsonl"))
        self.refused(job, out, "critical.jsonl", "No such file")
        for content in ("", "{}"):
            job, out = self.job()
            os.mkdir(out)
            self.write(os.path.join(out, "mine.txt"), content)
            self.refused(job, out, "output", out, "exists", nothing=False)
            self.assertEqual(os.listdir(out), ["mine.txt"])
        job, out = self.job()
        self.write(out, "a file")
        self.refused(job, out, out, "choose a folder", nothing=False)
        job, out = self.job()
        self.run_job(job)
        digest = self.digest(out)
        self.refused(job, out, "is a finished output", nothing=False)
        self.assertEqual(self.digest(out), digest)
        # The unfinished output of another job is not touched.
        os.unlink(os.path.join(out, "manifest.json"))
        self.write(os.path.join(out, ".cwp-job"), "0" * 64 + "\n" + "0" * 64 + "\n")
        before = sorted(os.listdir(out))
        self.refused(job, out, "unfinished output of another job", nothing=False)
        self.assertEqual(sorted(os.listdir(out)), before)

    # ---- models ----

    def test_models(self):
        folder = self.copy_model("short")
        os.truncate(os.path.join(folder, "model.safetensors"), 100000)
        self.refused(*self.job(folder), "model.safetensors", "bytes")
        folder = self.copy_model("lies")
        with open(os.path.join(folder, "model.safetensors"), "r+b") as f:
            f.write(struct.pack("<Q", 1 << 62))
        self.refused(*self.job(folder), "model.safetensors", "header")
        for key in ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"):
            folder = self.copy_model("no-" + key)
            self.change_config(folder, **{key: None})
            self.refused(*self.job(folder), "config.json", key)
        folder = self.copy_model("arch")
        self.change_config(folder, architectures=["LlamaForCausalLn"], model_type="llamma")
        self.refused(*self.job(folder), "config.json", "llamma", "llama")
        folder = self.copy_model("layers")
        self.change_config(folder, num_hidden_layers=3)
        self.refused(*self.job(folder), "model.layers.2.")
        folder = self.copy_model("shape")
        self.change_config(folder, intermediate_size=128)
        self.refused(*self.job(folder), "mlp", "160")
        folder = self.copy_model("json")
        self.write(os.path.join(folder, "config.json"), "{\"a\": ")
        self.refused(*self.job(folder), "config.json")
        folder = self.copy_model("none")
        os.unlink(os.path.join(folder, "model.safetensors"))
        self.refused(*self.job(folder), folder, "safetensors")
        # An output is no input.
        job, out = self.job()
        self.run_job(job)
        self.refused(*self.job(out), out, "quantized already")

    def test_nan(self):
        for name in ("model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"):
            folder = self.copy_model(name)
            path = os.path.join(folder, "model.safetensors")
            t = read_safetensors(path)
            dtype, shape, data = t[name]
            t[name] = (dtype, shape, data[:40] + struct.pack("<f", float("nan")) + data[44:])
            write_safetensors(path, t)
            plain, out = self.job(folder)
            if name != "model.norm.weight":
                self.refused(plain, out, name[:-len(".weight")])
            job, out = self.job(folder, **self.protecting())
            self.refused(job, out, name, "nan", "element 10", "repair")

    def test_tokenizer(self):
        folder = self.copy_model()
        shutil.copyfile(os.path.join(worker_test.SHARED, "tokenizers", "smollm2", "tokenizer.json"),
            os.path.join(folder, "tokenizer.json"))
        path = os.path.join(folder, "tokenizer.json")
        with open(path, encoding="utf-8") as f:
            tokenizer = json.load(f)
        text = self.write("text.txt", "Some words.\n\nMore words.\n")
        parts = {"calibrate": {"critical": [{"name": "t", "data": "text", "path": text}]}, "score": {"plugin": "wanda"},
            "protect": {"fraction": 0.1}}
        tokenizer["pre_tokenizer"] = {"type": "FancyNewSplit"}
        self.write(path, json.dumps(tokenizer))
        self.refused(*self.job(folder, **parts), "tokenizer.json", "pre_tokenizer", "FancyNewSplit")
        os.unlink(path)
        self.refused(*self.job(folder, **parts), "tokenizer.json")

    # ---- data ----

    def test_samples(self):
        def refused(text, *words, status=65):
            path = self.write("s.jsonl", text)
            return self.refused(*self.job(calibrate={"critical": [{"name": "s", "data": "samples", "path": path}]},
                score={"plugin": "fisher"}, protect={"fraction": 0.1}), "s.jsonl", *words, status=status)

        n = 129  # the context is 128
        refused(json.dumps({"ids": [3] * n, "weights": [0] + [0.1] * (n - 1)}) + "\n", ":1:", "129", "128", status=1)
        refused('{"ids": [1, 600], "weights": [0, 1]}\n', ":1:", "600", "511")
        refused('{"ids": [1, 2], "weights": [0]}\n', ":1:", "weights")
        refused('{"ids": [1, 2], "weights": [0, 1]}\n{"ids": [1, "a"], "weights": [0, 1]}\n', ":2:", "ids")
        refused('not json\n', ":1:")
        refused("", "s.jsonl")

    def test_evaluations(self):
        folder = self.copy_model()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(os.path.join(worker_test.SHARED, "tokenizers", "smollm2", name), os.path.join(folder, name))
        pairs = self.write("pairs.csv", "sent_more,sent_less\nThey are bad.,We are bad.\n")

        def refused(*words, gate=None, **evaluation):
            parts = dict(evaluate=[dict({"name": "bias", "benchmark": "crows-pairs", "path": pairs}, **evaluation)])
            if gate:
                parts["gate"] = [gate]
            return self.refused(*self.job(folder, **parts), *words)

        refused("crows-pair", "crows-pairs", benchmark="crows-pair")
        refused("crows-pairs", "mre", "more", options={"mre": "x"})
        refused("nowhere.csv", "No such file", path="/nowhere.csv")
        refused("head.csv", "sent_more", path=self.write("head.csv", "a,b\n1,2\n"))
        refused("head2.csv", "quote", path=self.write("head2.csv", 'sent_more,sent_less\n"a,b\n'))
        refused("gate[0].metric", "bais", "bias", gate={"metric": "bais.pct_stereotype", "at-most": 1})
        refused("gate[0].metric", "pct_stereo", "did you mean bias.pct_stereotype?", "bias.likelihood_diff, bias.flips",
                gate={"metric": "bias.pct_stereo", "at-most": 1})
        refused("gate[0].metric", "bias.flips/colour", gate={"metric": "bias.flips/colour", "at-most": 1})
        refused("gate[0].than", "nothing is protected", gate={"metric": "bias.flips", "at-most-times": 1, "than": "quantized"})

    # ---- plugins ----

    def test_plugins(self):
        if not os.path.isdir(ZOO):
            self.skipTest("the mock plugins are not built (make check does)")
        folder = self.path("plugins")
        os.mkdir(folder)
        for name in ("cpu", "static"):
            shutil.copy(os.path.join(PLUGINS, name + ".so"), folder)
        for mock, status, words in (("wrong_major", 78, ["ABI"]), ("wrong_kind", 65, ["quantizer"]),
                ("missing_symbol", 1, ["cwp_plugin"]), ("aborts_on_load", 1, ["crash"])):
            name = mock.replace("_", "-")
            shutil.copy(os.path.join(ZOO, mock + ".so"), os.path.join(folder, name + ".so"))
            job, out = self.job(**self.protecting(name))
            self.refused(job, out, name, *words, status=status, arguments=("--plugin-dir", folder))

    # ---- limits ----

    def test_limits(self):
        parts = self.protecting()
        job, out = self.job(limits={"memory": "1MiB"}, **parts)
        self.refused(job, out, "limits.memory", "1048576", "raise it", status=1)
        job, out = self.job(limits={"scratch": "1KiB"}, **parts)
        self.refused(job, out, "limits.scratch", "1024", "raise it", status=1)
        plan = self.inspect("plan", self.job(**parts)[0])[0]["bounds"]
        job, out = self.job(limits={"memory": "%dB" % plan["memory"], "scratch": "%dB" % plan["scratch"], "threads": 1}, **parts)
        self.assertEqual(self.worker("run", job).returncode, 0)

    def mount(self, name, size):
        if os.geteuid() != 0:
            self.skipTest("mounting a small file system needs root")
        folder = self.path(name)
        os.mkdir(folder)
        if ctypes.CDLL(None, use_errno=True).mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size=%d" % size) != 0:
            self.skipTest("a small file system cannot be mounted here: " + os.strerror(ctypes.get_errno()))
        self.addCleanup(subprocess.run, ["umount", folder], check=True)
        return folder

    def test_disk_full(self):
        model = make_model(self.path("model"), layers=2)
        parts = self.protecting()
        job, whole = self.job(model, **parts)
        self.run_job(job)
        small = self.mount("small", 400 << 10)
        # Too little scratch is known beforehand.
        job, out = self.job(model, **parts)
        scratch = os.path.join(small, "scratch")
        self.refused(job, out, "scratch", "free", small, status=75, arguments=("--scratch", scratch))
        shutil.rmtree(scratch, ignore_errors=True)
        # The output's disk fills while it is written; with room the same job goes on.
        job, out = self.job(model, output=os.path.join(small, "out"), **parts)
        said = self.refused(job, out, "No space left", status=75, arguments=("--scratch", self.path("elsewhere")), nothing=False)
        self.assertNotIn("manifest.json", os.listdir(out), said)
        subprocess.run(["mount", "-o", "remount,size=16m", small], check=True)
        self.run_job(job, "--scratch", self.path("elsewhere"))
        self.assertEqual(self.digest(out), self.digest(whole))
        self.assert_tidy(out)
        self.assertEqual(os.listdir(self.path("elsewhere")), [])

    def test_terminated(self):
        """SIGTERM stops at the next opportunity; what is on scratch stays, and the same job goes on to the same bytes."""
        model = make_model(self.path("model"), layers=6)
        parts = self.protecting()
        job, whole = self.job(model, **parts)
        self.run_job(job)
        job, out = self.job(model, **parts)
        scratch = self.path("." + os.path.basename(out) + ".cwp-scratch")
        process = subprocess.Popen([WORKER, "run", job, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not os.path.exists(os.path.join(scratch, "score-1-5.f32")):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
        self.assertEqual(process.returncode, 1, said)
        self.assertIn("cancelled", said)
        self.assertIn("journal", os.listdir(scratch))
        self.assertFalse(os.path.exists(os.path.join(out, "manifest.json")))
        self.run_job(job)
        self.assertEqual(self.digest(out), self.digest(whole))
        self.assert_tidy(out)

    def test_usage(self):
        for arguments in ((), ("run",), ("walk", "x"), ("run", "a", "b"), ("run", "x", "--threads", "0"), ("run", "x", "--thread", "x")):
            self.assertEqual(self.worker(*arguments).returncode, 64, arguments)


if __name__ == "__main__":
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs with adapters on a small BF16 model: protected values are the merged ones to the last bit, as the sums made here
say; the manifest, reports and a job's identity know the adapter; cwp-inspect merges the same; and what is refused."""
import array
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import INSPECT, WORKER, floats, make_model, protected_positions, read_folder, read_safetensors, write_safetensors

IDS = [[5, 100, 200, 300, 7, 8, 9, 10, 11, 400], [3, 4, 511]]
RANK = 4


def bf16(values):
    """Cut to BF16, as bytes."""
    return b"".join(struct.pack("<f", v)[2:] for v in values)


def from_bf16(data):
    return array.array("f", b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2)))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def to_bf16(tensors, config):
    for name, (_, shape, data) in tensors.items():
        tensors[name] = ("BF16", shape, bf16(array.array("f", data)))
    config["torch_dtype"] = "bfloat16"


class Adapter(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.model = make_model(self.path("model"), layers=2, hidden=64, wide=96, change=to_bf16)

    def adapter(self, name, kinds=("q_proj", "down_proj"), seed=1, strength=0.2, alpha=6, **config):
        """An adapter for these Linears of all layers; returns its folder."""
        rng, folder, tensors = random.Random(seed), self.path(name), {}
        for weight, (_, (rows, cols), _) in sorted((n, t) for n, t in read_folder(self.model).items() if len(t[1]) == 2):
            module = weight[:-len(".weight")]
            if module.split(".")[-1] in kinds:
                for factor, shape in (("A", [RANK, cols]), ("B", [rows, RANK])):
                    tensors["base_model.model.%s.lora_%s.weight" % (module, factor)] = ("BF16", shape,
                        bf16(strength * (rng.random() - 0.5) for _ in range(shape[0] * shape[1])))
        os.mkdir(folder)
        write_safetensors(os.path.join(folder, "adapter_model.safetensors"), tensors)
        config = dict({"peft_type": "LORA", "r": RANK, "lora_alpha": alpha, "target_modules": list(kinds), "bias": "none"}, **config)
        with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
        return folder

    def merged(self, *folders, scale=6 / RANK):
        """module -> the rows of its weight once the adapters are merged, one after the other."""
        weights = {n: [list(from_bf16(t[2])[i * t[1][1]:(i + 1) * t[1][1]]) for i in range(t[1][0])]
            for n, t in read_folder(self.model).items() if len(t[1]) == 2}
        for folder in folders:
            factors = read_safetensors(os.path.join(folder, "adapter_model.safetensors"))
            for name, (_, (_, cols), data) in factors.items():
                if ".lora_A." not in name:
                    continue
                module = name[len("base_model.model."):-len(".lora_A.weight")]
                a, b = from_bf16(data), from_bf16(factors[name.replace("lora_A", "lora_B")][2])
                for i, row in enumerate(weights[module + ".weight"]):
                    for c in range(cols):
                        total = 0.0
                        for k in range(RANK):
                            total += b[i * RANK + k] * a[k * cols + c]
                        row[c] = f32(row[c] + scale * total)
        return weights

    def one(self, adapter, **parts):
        parts = dict(self.protecting(fraction=0.1), **parts)
        job, output = self.job(self.model, adapter=adapter, **parts)
        self.run_job(job, "--scratch", self.path("scratch"))
        return output

    def test_exact(self):
        """An overlay's values, and everything where all is protected, are the merged sums."""
        first, second = self.adapter("first"), self.adapter("second", kinds=("q_proj", "up_proj"), seed=2)
        want = self.merged(first, second)
        output = self.one([first, second])
        self.assertEqual(self.inspect("verify", output)[0]["content_digest"], self.digest(output))
        self.inspect("dense", output, "--out", self.path("dense"))
        decoded, overlay = read_folder(self.path("dense")), read_safetensors(os.path.join(output, "protected.safetensors"))
        checked = {"F32": 0, "BF16": 0}
        for module, places in protected_positions(output).items():
            cols, values = decoded[module + ".weight"][1][1], floats(decoded[module + ".weight"])
            kind = overlay[module + ".values"][0]
            self.assertEqual(kind, "F32" if module.split(".")[-1] in ("q_proj", "down_proj", "up_proj") else "BF16", module)
            for row, column, data in places:
                value = from_bf16(data)[0] if kind == "BF16" else struct.unpack("<f", data)[0]
                self.assertEqual(value, want[module + ".weight"][row][column], (module, row, column))
                self.assertEqual(value, values[row * cols + column])
                checked[kind] += 1
        self.assertGreater(min(checked.values()), 100)
        # The engine's files keep the type that engines want.
        for name, (dtype, _, _) in read_folder(output).items():
            if name.endswith("weight_scale"):
                self.assertEqual(dtype, "BF16", name)
        dense = self.one([first, second], protect={"fraction": 1, "carrier": "dense"})
        for name, (dtype, shape, data) in read_folder(dense).items():
            if len(shape) != 2:
                continue
            values = array.array("f", data) if dtype == "F32" else from_bf16(data)
            self.assertEqual(list(values), [v for row in want[name] for v in row], name)
        # cwp-inspect merges the same: the model with adapters is that dense output.
        a, b = self.path("a.safetensors"), self.path("b.safetensors")
        lines = [{"ids": i} for i in IDS]
        self.inspect("logits", self.model, "--adapter", first, "--adapter", second, "--out", a, "--threads", "1", lines=lines)
        self.inspect("logits", dense, "--out", b, "--threads", "1", lines=lines)
        self.assertEqual(read_safetensors(a), read_safetensors(b))
        self.assertNotEqual(read_safetensors(a), self.logits(self.model, "c", IDS))

    def test_every_verb(self):
        adapter = self.adapter("one")
        self.inspect("dense", self.model, "--adapter", adapter, "--out", self.path("dense"))
        dense = self.path("dense")
        line = [{"context_ids": [5, 9], "continuation_ids": [100, 7, 8]}]
        self.assertEqual(self.inspect("loglik", self.model, "--adapter", adapter, lines=line), self.inspect("loglik", dense, lines=line))
        line = [{"ids": [5, 9, 33], "max_new_tokens": 12, "stop": []}]
        mine = self.inspect("generate", self.model, "--adapter", adapter, lines=line)
        self.assertEqual(mine, self.inspect("generate", dense, lines=line))
        self.assertEqual(mine, self.inspect("generate", self.model, "--adapter", adapter, "--memory", "1MB", lines=line))
        samples, out = self.samples("s.jsonl"), [self.path("1.safetensors"), self.path("2.safetensors")]
        self.inspect("statistics", self.model, "--adapter", adapter, "--samples", samples, "--out", out[0], "--threads", "1")
        self.inspect("statistics", dense, "--samples", samples, "--out", out[1], "--threads", "1")
        self.assertEqual(read_safetensors(out[0]), read_safetensors(out[1]))
        for verb, operand in (("tokens", self.model), ("verify", dense), ("plan", "job.yaml")):
            done = subprocess.run([INSPECT, verb, operand, "--adapter", adapter], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, stdin=subprocess.DEVNULL)
            self.assertEqual((done.returncode, done.stdout), (64, ""))
            self.assertIn("--adapter means nothing to the verb " + verb, done.stderr)

    def test_records(self):
        """Inputs, reports, and paths relative to the job file."""
        adapter = self.adapter("my-lora")
        self.write(os.path.join("my-lora", "notes.json"), "{}")  # no part of it
        output = self.one("my-lora")
        manifest, report = self.load(output, "manifest.json"), self.load(output, "report.json")
        self.assertEqual({n for n in manifest["inputs"] if n.startswith(adapter)},
            {os.path.join(adapter, n) for n in ("adapter_config.json", "adapter_model.safetensors")})
        self.assertEqual(report["job"]["adapter"], [adapter])
        with open(os.path.join(output, "report.html"), encoding="utf-8") as f:
            self.assertIn("<code>%s</code> + <code>%s</code>" % (self.model, adapter), f.read())
        with open(os.path.join(output, "config.json"), encoding="utf-8") as f, \
                open(os.path.join(self.model, "config.json"), encoding="utf-8") as g:
            mine, base = json.load(f), json.load(g)
        mine.pop("quantization_config")
        self.assertEqual(mine, base)
        self.assertIsNone(self.load(self.one(None), "report.json")["job"].get("adapter"))

    def test_identity(self):
        """What a killed attempt left is gone on with only where the adapter is the same to the last byte."""
        kept = {"one": self.adapter("one"), "two": self.adapter("two", seed=5), "three": self.adapter("three", alpha=7)}
        parts = dict(self.protecting(fraction=0.1), score={"plugin": "fisher", "options": {"error-aware": False}})
        whole = {name: self.digest(self.one(folder, **parts)) for name, folder in kept.items()}
        self.assertEqual(len(set(whole.values())), 3)
        for name, folder in kept.items():
            current, scratch = self.path("current"), self.path("scratch-" + name)
            shutil.copytree(kept["one"], current)
            job, output = self.job(self.model, adapter="current", **parts)
            killed = subprocess.Popen([WORKER, "run", job, "--threads", "1", "--scratch", scratch], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
            while killed.poll() is None and not self.scored(scratch):
                pass
            killed.kill()
            self.assertEqual(killed.wait(), -9, "it ended before it was killed")
            shutil.rmtree(current)
            shutil.copytree(folder, current)
            self.run_job(job, "--scratch", scratch)
            self.assertEqual(self.digest(output), whole[name], name)
            shutil.rmtree(current)

    def scored(self, scratch):
        """Whether a layer's scores are on the disk."""
        for root, _, names in os.walk(scratch):
            if "journal" in names:
                with open(os.path.join(root, "journal"), encoding="utf-8") as f:
                    return f.read().count("\n") > 1
        return False

    def test_plan(self):
        adapter = self.adapter("one")
        job, _ = self.job(self.model, adapter=adapter, **self.protecting())
        plain, _ = self.job(self.model, **self.protecting())
        mine, base = self.inspect("plan", job)[0], self.inspect("plan", plain)[0]
        grown = mine["bounds"].pop("memory") - base["bounds"].pop("memory")
        self.assertEqual(mine, base)
        self.assertTrue(0 < grown < 1 << 20, grown)

    def test_refused(self):
        good = self.adapter("good")
        for adapter, words in ((self.path("nowhere"), ["nowhere", "no adapter_config.json"]),
                ([good, self.model], ["model: no adapter_config.json"]),
                (self.adapter("dora", use_dora=True), ["adapter_config.json: use_dora", "DoRA"]),
                (self.adapter("ia3", peft_type="IA3"), ["peft_type", "\"IA3\""]),
                (self.adapter("half", r=8), ["gives the module rank 8"]),
                (self.adapter("more", target_modules=["q_proj", "k_proj", "down_proj"]), ["target_modules names", "self_attn.k_proj"])):
            job, output = self.job(self.model, adapter=adapter)
            text = self.run_job(job, status=65)
            for word in words:
                self.assertIn(word, text)
            self.assert_nothing(output)
        # An output projection that is the embedding, with a tensor of its own beside it, and one that is not.
        for tied, status in ((True, 65), (False, 0)):
            def head(tensors, config):
                to_bf16(tensors, config)
                tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
                config["tie_word_embeddings"] = tied
            self.model = make_model(self.path("head%d" % tied), layers=2, hidden=64, wide=96, change=head)
            adapter = self.adapter("lm-head%d" % tied, kinds=("lm_head",))
            job, output = self.job(self.model, adapter=adapter)
            text = self.run_job(job, status=status)
            if tied:
                self.assertIn("an adapter changes lm_head.weight, but config.json says", text)
                self.assert_nothing(output)
            else:
                want = [v for row in self.merged(adapter)["lm_head.weight"] for v in row]
                self.assertEqual(list(floats(read_folder(output)["lm_head.weight"])), want)
        self.model = self.path("model")
        # A sum that is no number: before any output, or as its rows are read.
        job, output = self.job(self.model, adapter=self.adapter("huge", alpha=1e42), **self.protecting())
        text = self.run_job(job, status=65)
        self.assertIn("is not finite in row 0 once %s is merged" % self.path("huge"), text)
        self.assert_nothing(output)


if __name__ == "__main__":
    worker_test.main()

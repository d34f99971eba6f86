#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The carriers adapter and modules: what is written, what the engine computes with it, what its report says, resumed jobs,
and what each of them cannot hold."""
import hashlib
import json
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import INSPECT, floats, golden, make_model, protected_positions, read_folder, read_safetensors


def values(tensor):
    """A tensor as floats."""
    dtype, _, data = tensor
    if dtype == "F32":
        return list(struct.unpack("<%df" % (len(data) // 4), data))
    assert dtype == "BF16", dtype
    return list(struct.unpack("<%df" % (len(data) // 2), b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))))


def units(output):
    """module -> set of (row, column) that the adapter replaces, by doc/adapter.md alone."""
    t = read_safetensors(os.path.join(output, "adapter", "adapter_model.safetensors"))
    found = {}
    for name in t:
        head, tail = "base_model.model.", ".lora_A.weight"
        assert name.startswith(head)
        if not name.endswith(tail):
            continue
        module = name[len(head):-len(tail)]
        (rank, cols), a = t[name][1], values(t[name])
        b_name = head + module + ".lora_B.weight"
        (rows, rank_b), b = t[b_name][1], values(t[b_name])
        assert rank == rank_b
        lines = [a[k * cols:(k + 1) * cols] for k in range(rank)]
        if all(sorted(line) == [0.0] * (cols - 1) + [1.0] for line in lines):
            found[module] = {(r, line.index(1.0)) for line in lines for r in range(rows)}
        else:
            columns = [b[k::rank] for k in range(rank)]
            assert all(sorted(c) == [0.0] * (rows - 1) + [1.0] for c in columns), module
            found[module] = {(c.index(1.0), x) for c in columns for x in range(cols)}
    return found


class Carriers(worker_test.WorkerTest):
    def carried(self, carrier, unit, fraction=0.05, model="smollm2", protect=None, status=0, **parts):
        keys = self.protecting("fisher", fraction=fraction, carrier=carrier)
        keys["protect"].update({"unit": unit, **(protect or {})})
        keys.update(parts)
        job, output = self.job(model, **keys)
        log = self.run_job(job, status=status)
        if status == 0:
            self.inspect("verify", output)
        return output, log

    def dense(self, output):
        out = output + "-dense"
        if not os.path.exists(out):
            self.inspect("dense", output, "--out", out)
        return read_folder(out)

    def check_exact(self, output, places, model="smollm2"):
        """Protected weights are the model's own in what the engine computes with."""
        original, dense = read_folder(model if "/" in model else golden(model)), self.dense(output)
        changed = 0
        for module, list_ in places.items():
            name = module + ".weight"
            want, have, cols = values(original[name]), floats(dense[name]), original[name][1][1]
            for row, column in list_:
                self.assertEqual(have[row * cols + column], want[row * cols + column])
            changed += sum(x != y for x, y in zip(want, have))
        self.assertGreater(changed, 0)

    def test_adapter(self):
        for unit in ("column", "row"):
            with self.subTest(unit=unit):
                output, log = self.carried("adapter", unit)
                found = units(output)
                report, manifest = self.load(output, "report.json"), self.load(output, "manifest.json")
                protection = report["protection"]
                self.assertEqual({m: n for m, n in protection["per_module"].items() if n}, {m: len(p) for m, p in found.items()})
                self.assertNotIn("protected.safetensors", os.listdir(output))
                self.check_exact(output, found)
                config = self.load(output, "adapter/adapter_config.json")
                self.assertEqual(config["r"], protection["adapter"]["rank"])
                self.assertEqual(config["lora_alpha"], config["r"])
                self.assertEqual(config["rank_pattern"], config["alpha_pattern"])
                self.assertEqual(set(config["target_modules"]), set(found))
                self.assertEqual(protection["adapter"]["error"], {"largest": 0.0, "rms": 0.0})
                self.assertEqual(protection["adapter"]["modules"], len(found))
                self.assertIn("adapter/adapter_model.safetensors", manifest["files"])
                t = read_safetensors(os.path.join(output, "adapter", "adapter_model.safetensors"))
                self.assertEqual(report["size"]["protected_bytes"], sum(len(d) for _, _, d in t.values()))
                # The same weights with an overlay: the same values.
                overlay, _ = self.carried("overlay", unit)
                self.assertEqual({m: {(r, c) for r, c, _ in p} for m, p in protected_positions(overlay).items()}, found)
                self.assertEqual(self.dense(output), self.dense(overlay))


    def refused(self, words, carrier, unit, model="smollm2", protect=None, **parts):
        output, log = self.carried(carrier, unit, model=model, protect=protect, status=65, **parts)
        self.assertIn(words, log)
        self.assert_nothing(output)

    def test_refusals(self):
        self.refused("protect.carrier: adapter holds whole columns or rows", "adapter", "weight")
        self.refused("protect.carrier: adapter holds whole columns or rows", "adapter", "module")
        self.refused("protect.carrier: modules keeps whole modules", "modules", "column")
        self.refused("protect.max-rank: is the largest rank of an adapter", "overlay", "column", protect={"max-rank": 8})
        self.refused("adapter does not go with write.format: dense; use overlay, none, dense or modules", "adapter", "column", write={"format": "dense"})
        self.refused("no engine takes a LoRA adapter of experts", "adapter", "column", model="mixtral")
        self.refused("no engine loads int codes of some experts", "modules", "module", model="qwen2moe")
        # Nothing of a rank above the largest, and which modules would have one.
        output, log = self.carried("adapter", "column", fraction=0.3, protect={"max-rank": 2}, status=65)
        self.assertRegex(log, r"protect.max-rank: 2 is less than the rank of model\.layers\.\S+ \(\d+\), .*: protect a smaller fraction, "
            r"or write at least \d+")
        self.assert_nothing(output)
        least = int(log.split("write at least ")[1].split()[0])
        output, _ = self.carried("adapter", "column", fraction=0.3, protect={"max-rank": least})
        self.assertEqual(self.load(output, "adapter/adapter_config.json")["r"], least)

    def test_over_rank(self):
        """With over-rank: keep-best a module keeps its best columns or rows, which are those of a smaller fraction."""
        for unit in ("column", "row"):
            with self.subTest(unit=unit):
                plain = {"super-weights": False}
                every = units(self.carried("adapter", unit, fraction=0.3, protect=plain)[0])
                small = units(self.carried("adapter", unit, fraction=0.05, protect=plain)[0])
                axis = 1 if unit == "column" else 0
                numbers = {m: {p[axis] for p in places} for m, places in every.items()}
                # One that a smaller fraction leaves with a few, and a larger one with more.
                best = {m: {p[axis] for p in places} for m, places in small.items()}
                rank = max(len(b) for m, b in best.items() if len(b) < len(numbers[m]))
                # All of a matrix is as many rows or columns as there are fewer of.
                shapes = {n[:-len(".weight")]: t[1] for n, t in read_folder(golden("smollm2")).items()}
                left = {m: len(n) if len(every[m]) == shapes[m][0] * shapes[m][1] and min(shapes[m]) <= rank else min(rank, len(n))
                    for m, n in numbers.items()}
                output, log = self.carried("adapter", unit, fraction=0.3, protect={**plain, "max-rank": rank, "over-rank": "keep-best"})
                kept = {m: {p[axis] for p in places} for m, places in units(output).items()}
                self.assertEqual({m: len(k) for m, k in kept.items()}, left)
                for m, k in kept.items():
                    self.assertLessEqual(k, numbers[m], m)
                    if len(best.get(m, ())) <= rank:
                        self.assertLessEqual(best.get(m, set()), k, m)
                self.assertEqual(self.load(output, "adapter/adapter_config.json")["r"], rank)
                report = self.load(output, "report.json")
                lost = report["protection"]["adapter"]["over_rank"]
                self.assertEqual({m: x["lost"] for m, x in lost.items()}, {m: len(n) - left[m] for m, n in numbers.items() if len(n) > left[m]})
                self.assertGreater(len(lost), 1)
                for m, x in lost.items():
                    self.assertEqual((x["kept"], x["weights"]), (rank, x["lost"] * len(every[m]) // len(numbers[m])), m)
                found = units(output)
                self.assertEqual({m: n for m, n in report["protection"]["per_module"].items() if n}, {m: len(p) for m, p in found.items()})
                self.check_exact(output, found)
                words = "protect.max-rank: %d modules, such as " % len(lost)
                self.assertEqual(log.count(words), 1)
                self.assertEqual([words in w for w in report["warnings"]].count(True), 1)
        # Nothing is lost: nothing is said. Super weights come first.
        output, log = self.carried("adapter", "column", protect={"max-rank": 4096, "over-rank": "keep-best"})
        self.assertNotIn("over_rank", self.load(output, "report.json")["protection"]["adapter"])
        self.assertNotIn("protect.max-rank", log)
        output, _ = self.carried("adapter", "column", fraction=0.3, protect={"max-rank": 1, "over-rank": "keep-best"})
        found = units(output)
        for w in self.load(output, "report.json")["protection"]["super_weights"]:
            self.assertIn((w["row"], w["column"]), found[w["module"]])
        self.refused("protect.over-rank: keep-best needs the rank to keep", "adapter", "column", protect={"over-rank": "keep-best"})

    def test_experts_left_out(self):
        """Attention alone may be carried where experts are not quantized, and experts are kept whole beside fp8."""
        skip = {"plugin": "fp8", "skip": ["lm_head", "w1", "w2", "w3"]}
        with open(os.path.join(golden("mixtral"), "config.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["model_type"], "mixtral")
        output, _ = self.carried("adapter", "row", model="mixtral", quantize=skip)
        self.check_exact(output, units(output), "mixtral")
        output, _ = self.carried("modules", "module", model="mixtral", fraction=0.5, quantize={"plugin": "fp8"})
        kept = self.load(output, "report.json")["protection"]["kept_modules"]
        experts = [m for m in kept if ".experts." in m]
        layers = {m.split(".")[2] for m in experts}
        every = [n for n in read_folder(golden("mixtral")) if ".experts." in n and n.split(".")[2] in layers]
        self.assertEqual(len(experts), len(every))

    def test_modules(self):
        output, _ = self.carried("modules", "module", fraction=0.2)
        report = self.load(output, "report.json")
        kept = report["protection"]["kept_modules"]
        self.assertTrue(kept)
        ignore = self.load(output, "config.json")["quantization_config"]["ignore"]
        self.assertEqual(set(ignore), set(kept) | {"lm_head"})
        original, written = read_folder(golden("smollm2")), read_folder(output)
        for module in kept:
            self.assertEqual(written[module + ".weight"], original[module + ".weight"])
        # Modules that engines fuse stay together.
        for module in kept:
            head, _, last = module.rpartition(".")
            for group in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
                if last in group:
                    self.assertTrue({head + "." + g for g in group} <= set(kept))
        sizes = {m: len(original[m + ".weight"][2]) for m in report["protection"]["per_module"]}
        stored = sum(len(d) for n, (_, _, d) in written.items() if any(n.startswith(m + ".weight") for m in sizes))
        weights = report["protection"]["weights"]
        self.assertAlmostEqual(report["size"]["bits_per_weight"], 8 * stored / weights)
        self.assertEqual(report["size"]["whole_bytes"], sum(sizes[m] for m in kept))
        self.assertEqual(report["protection"]["protected"],
            sum(original[m + ".weight"][1][0] * original[m + ".weight"][1][1] for m in kept))
        dense, _ = self.carried("dense", "module", fraction=0.2)
        self.assertEqual(self.dense(dense), self.dense(output))
        self.assertEqual(self.load(dense, "report.json")["size"]["bits_per_weight"], 32)

    def spiked(self):
        """A model whose down_proj in layer 1 has a super weight at row 21, column 33."""
        def spike(tensors, config):
            def change(name, edit):
                dtype, shape, _ = tensors[name]
                numbers = floats(tensors[name])
                edit(numbers, shape[1])
                tensors[name] = (dtype, shape, numbers.tobytes())

            def louder(numbers, cols):
                for i in range(33 * cols, 34 * cols):
                    numbers[i] *= 40

            def planted(numbers, cols):
                numbers[21 * cols + 33] = 4.0

            for name in ("gate_proj", "up_proj"):
                change("model.layers.1.mlp.%s.weight" % name, louder)
            change("model.layers.1.mlp.down_proj.weight", planted)

        return make_model(self.path("spiked"), layers=3, hidden=64, wide=96, change=spike)

    def test_super(self):
        """A super weight takes its whole unit with it."""
        model = self.spiked()
        for carrier, unit in (("adapter", "column"), ("adapter", "row"), ("modules", "module")):
            with self.subTest(carrier=carrier, unit=unit):
                output, _ = self.carried(carrier, unit, fraction=1e-9, model=model)
                report = self.load(output, "report.json")["protection"]
                self.assertEqual([(w["module"], w["row"], w["column"], w["selected"]) for w in report["super_weights"]],
                    [("model.layers.1.mlp.down_proj", 21, 33, False)])
                rows, cols = read_folder(model)["model.layers.1.mlp.down_proj.weight"][1]
                self.assertEqual((report["protected"], report["super_added"]),
                    (0, {"column": rows, "row": cols, "module": rows * cols}[unit]))
                if carrier == "adapter":
                    want = {(r, 33) for r in range(rows)} if unit == "column" else {(21, c) for c in range(cols)}
                    self.assertEqual(units(output), {"model.layers.1.mlp.down_proj": want})
                    self.check_exact(output, units(output), model)
                else:
                    self.assertEqual(report["kept_modules"], ["model.layers.1.mlp.down_proj"])

    def masked(self, mask, carrier, status=0, model="smollm2"):
        job, output = self.job(model, protect={"mask": mask, "carrier": carrier})
        log = self.run_job(job, status=status)
        if status == 0:
            self.inspect("verify", output)
        return output, log

    def places(self, output):
        return {(m, r, c) for m, p in protected_positions(output).items() for r, c, _ in p}

    def test_masks(self):
        """Every carrier's output holds its mask for later jobs, of other carriers too."""
        made = {}
        for carrier, unit in (("dense", "weight"), ("overlay", "weight"), ("adapter", "column"), ("overlay", "column"),
                ("modules", "module"), ("overlay", "module")):
            made[carrier, unit], _ = self.carried(carrier, unit, fraction=0.1)
        for carrier, unit, file in (("dense", "weight", "protected.mask"), ("adapter", "column", "adapter/adapter_model.safetensors"),
                ("modules", "module", "manifest.json")):
            with self.subTest(carrier=carrier):
                first, same = made[carrier, unit], made["overlay", unit]
                again, _ = self.masked(first, "overlay")
                self.assertEqual(self.places(again), self.places(same))
                self.assertTrue(self.places(again))
                self.assertIn(os.path.join(first, file), self.load(again, "manifest.json")["inputs"])
                self.assertEqual(self.inspect("masks", first, same)[-1]["jaccard"], 1)
                # And the way back.
                back, _ = self.masked(same, carrier)
                self.assertEqual(self.digest(back), self.digest(first))
        for mask, carrier, words in ((made["overlay", "weight"], "adapter", "adapter holds whole columns or rows, but single weights of"),
                (made["adapter", "column"], "modules", "modules keeps whole modules, but of")):
            output, log = self.masked(mask, carrier, status=65)
            self.assertIn(words, log)
            self.assert_nothing(output)
        # A mask that is not what was written.
        dense = made["dense", "weight"]
        with open(os.path.join(made["overlay", "weight"], "protected.safetensors"), "rb") as f:
            data = f.read()
        with open(os.path.join(dense, "protected.mask"), "wb") as f:
            f.write(data)
        self.assertIn("is not part of an overlay", self.masked(dense, "overlay", status=65)[1])
        modules = made["modules", "module"]
        manifest = self.load(modules, "manifest.json")
        for kept, words in (([1], "holds more than names"), (manifest["kept_modules"][:1] * 2, "twice in its mask"),
                (["model.layers.9.mlp"], "no matrix of its model"), ([], "nor another mask")):
            with open(os.path.join(modules, "manifest.json"), "w", encoding="utf-8") as f:
                json.dump({**manifest, "kept_modules": kept}, f)
            self.assertIn(words, self.masked(modules, "overlay", status=65)[1])

    def card(self, output):
        with open(os.path.join(output, "README.md"), encoding="utf-8") as f:
            return f.read()

    def test_card(self):
        """What was done, how it loads, nothing of times and places, the same for the same job."""
        parts = {"name": "a | name `with` <marks>"}
        first, _ = self.carried("adapter", "column", **parts)
        second, _ = self.carried("adapter", "column", **parts)
        card = self.card(first)
        self.assertEqual(card, self.card(second))
        self.assertNotIn(self.folder, card)
        head = card.split("---\n")
        self.assertEqual(head[0], "")
        self.assertIn('base_model: "smollm2"\nbase_model_relation: quantized\nlibrary_name: transformers\n', head[1])
        self.assertIn("# a \\| name \\`with\\` \\<marks\\>\n", card)
        report = self.load(first, "report.json")
        self.assertIn("| scheme | int4, groups of 32, symmetric, activations none: 14 modules |", card)
        self.assertIn("| protected weights | %d (" % report["protection"]["protected"], card)
        self.assertIn("| bits a weight, as stored | %.3f |" % report["size"]["bits_per_weight"], card)
        self.assertIn("| calibrated on | safety (critical, 6 samples), text (utility, 4 samples) |", card)
        self.assertIn("PeftModel.from_pretrained(model, \"this folder/adapter\")", card)
        self.assertIn("from cwp_loader import load", self.card(self.carried("overlay", "weight")[0]))
        plain = self.card(self.carried("none", "weight")[0])
        self.assertIn("| protected weights | 0 (0 %) |\n| carried by | none |", plain)
        # It is no file of an engine: content_digest does not cover it, but the manifest does.
        with open(os.path.join(first, "README.md"), "a", encoding="utf-8") as f:
            f.write("changed\n")
        self.assertIn("README.md", self.load(first, "manifest.json")["files"])
        self.assertEqual(self.digest(first), self.digest(second))

    def convert(self, output, name, *options, status=0):
        out = self.path(name)
        done = subprocess.run([INSPECT, "convert", output, "--out", out, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        if status == 0:
            self.inspect("verify", out)
            self.assertEqual(json.loads(done.stdout)["content_digest"], self.digest(out))
        else:
            self.assertFalse(os.path.exists(out))
        return out if status == 0 else done.stderr

    def reported(self, first, out, want):
        """A converted output's report is the first one's with the sizes and the rest that its bytes have now."""
        report, before, like = (self.load(o, "report.json") for o in (out, first, want))
        self.assertEqual(report.pop("converted"), self.load(out, "manifest.json")["converted"])
        self.assertEqual(report["size"], like["size"])
        self.assertEqual(report["schemes"], like["schemes"])
        self.assertEqual(report["protection"].get("adapter"), like["protection"].get("adapter"))
        self.assertEqual(sorted(report["protection"].get("kept_modules", [])), sorted(like["protection"].get("kept_modules", [])))
        for changed in (report, before):
            for key in ("size", "schemes"):
                del changed[key]
            for key in ("adapter", "kept_modules"):
                changed["protection"].pop(key, None)
        self.assertEqual(report, before)
        # Where and what of it is the same as with a job, but for one line of the table.
        note = "| converted from | %s |" % self.digest(first)
        card = self.card(out).splitlines()
        self.assertIn(note, card)
        card.remove(note)
        self.assertEqual(card, self.card(want).splitlines())
        with open(os.path.join(out, "report.html"), encoding="utf-8") as f:
            page = f.read()
        self.assertIn("Converted from the output <code>%s</code> to the format compressed-tensors" % self.digest(first), page)
        listed = self.load(out, "manifest.json")["files"]
        for name in ("report.json", "report.html", "README.md"):
            self.assertIn(name, listed)

    def test_input_zeros(self):
        """Zero points of inputs go along to another carrier."""
        quantize = {"plugin": "static", "options": {"bits": 8, "activations": "static", "activation-symmetric": False}}
        made = {c: self.carried(c, "column", fraction=0.1, quantize=quantize)[0] for c in ("overlay", "adapter")}
        zeros = {n: d for n, (_, _, d) in read_folder(made["overlay"]).items() if n.endswith(".input_zero_point")}
        self.assertEqual(len(zeros), 14)
        self.assertGreater(len(set(zeros.values())), 1)
        self.assertEqual(self.digest(self.convert(made["overlay"], "zeros", "--carrier", "adapter")), self.digest(made["adapter"]))
        self.assertEqual(list(self.load(made["overlay"], "report.json")["schemes"]),
            ["int8, by channel, symmetric, activations int8 static, asymmetric"])

    def test_convert(self):
        """From one output to another: the bytes that a job would have written."""
        made = {}
        for carrier, unit in (("overlay", "column"), ("adapter", "column"), ("dense", "column"), ("none", "column"),
                ("overlay", "module"), ("modules", "module"), ("dense", "module"), ("overlay", "weight")):
            made[carrier, unit], _ = self.carried(carrier, unit, fraction=0.1)
        for source, carrier, unit in (("overlay", "adapter", "column"), ("adapter", "overlay", "column"), ("overlay", "dense", "column"),
                ("adapter", "dense", "column"), ("none", "none", "column"), ("overlay", "modules", "module"),
                ("modules", "dense", "module"), ("modules", "modules", "module"), ("overlay", "overlay", "weight")):
            with self.subTest(source=source, carrier=carrier, unit=unit):
                first = made[source, unit]
                out = self.convert(first, "%s-%s-%s" % (source, carrier, unit), "--carrier", carrier)
                want = made[carrier, unit]
                if (source, carrier) == ("modules", "dense"):  # whole modules lie behind the others
                    self.assertEqual(read_folder(out), read_folder(want))
                else:
                    self.assertEqual(self.digest(out), self.digest(want))
                manifest, like = self.load(out, "manifest.json"), self.load(want, "manifest.json")
                self.assertEqual(manifest["converted"],
                    {"from": self.digest(first), "format": "compressed-tensors", "carrier": carrier})
                self.assertEqual(manifest["counts"], like["counts"])
                if carrier == "modules":
                    self.assertEqual(sorted(manifest["kept_modules"]), sorted(like["kept_modules"]))
                self.assertEqual(manifest["inputs"], like["inputs"])
                if (source, carrier) == ("modules", "dense"):  # whole modules never had codes
                    self.assertEqual(self.load(out, "report.json")["schemes"], self.load(first, "report.json")["schemes"])
                else:
                    self.reported(first, out, want)
        # Another format of the same grid, and back: the same values, the same protected weights.
        first = made["overlay", "weight"]
        other = self.convert(first, "gptq", "--format", "gptq")
        self.assertEqual(self.load(other, "config.json")["quantization_config"]["quant_method"], "gptq")
        self.assertEqual(protected_positions(other), protected_positions(first))
        self.assertEqual(self.dense(other), self.dense(first))
        self.assertIn("| format | gptq |", self.card(other))
        self.assertEqual(read_folder(self.convert(other, "back")), read_folder(first))
        # An output whose report is none; and one without.
        report = os.path.join(other, "report.json")
        with open(report, "w", encoding="utf-8") as f:
            f.write("[1]")
        listed = self.load(other, "manifest.json")
        with open(report, "rb") as f:
            listed["files"]["report.json"].update(size=3, sha256=hashlib.sha256(f.read()).hexdigest())
        with open(os.path.join(other, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(listed, f)
        self.assertIn("report.json: is array, not an object", self.convert(other, "refused", status=65))
        os.unlink(report)
        del listed["files"]["report.json"]
        with open(os.path.join(other, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(listed, f)
        bare = self.convert(other, "bare")
        self.assertEqual({"report.json", "report.html", "README.md"} & set(os.listdir(bare)), set())
        self.assertIn("bitsandbytes cannot carry module", self.convert(first, "refused", "--format", "bitsandbytes", status=65))
        dense = made["dense", "column"]
        for output, options, words, status in (
                (dense, (), "holds no codes, as it is dense", 65),
                (made["overlay", "weight"], ("--carrier", "adapter"), "single weights are protected", 65),
                (made["overlay", "weight"], ("--carrier", "none"), "were chosen around its protected weights", 65),
                (made["overlay", "weight"], ("--carrier", "modules"), "weights are exact in", 65),
                (made["modules", "module"], ("--carrier", "overlay"), "has no codes of them", 65),
                (made["overlay", "column"], ("--carrier", "adapter", "--format", "dense"), "does not take this carrier", 65),
                (made["overlay", "column"], ("--carrier", "sidecar"), "use one of overlay, none, dense, modules, adapter", 64),
                (made["overlay", "column"], ("--format", "zip"), "--format zip is not known; use one of compressed-tensors", 64),
                (golden("smollm2"), (), "there is no manifest.json", 65)):
            self.assertIn(words, self.convert(output, "refused", *options, status=status))
        os.mkdir(self.path("there"))
        done = subprocess.run([INSPECT, "convert", made["overlay", "column"], "--out", self.path("there")], stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True)
        self.assertIn("exists: choose a folder that does not exist yet", done.stderr)
        self.assertEqual(os.listdir(self.path("there")), [])


if __name__ == "__main__":
    worker_test.main()

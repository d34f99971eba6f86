#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Masks of earlier outputs: reused without any scoring, combined and compared; and what is no mask of the model."""
import json
import os
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import INSPECT, golden, make_model, protected_positions, read_folder

STAGES = ["open", "select", "quantize", "write", "evaluate", "gate", "report"]


def places(output):
    return {(m, r, c) for m, p in protected_positions(output).items() for r, c, _ in p}


class Masks(worker_test.WorkerTest):
    def scored(self, model="smollm2", scorer="fisher", fraction=0.05, **parts):
        keys = self.protecting(scorer, fraction=fraction)
        keys.update(parts)
        job, output = self.job(model, **keys)
        self.run_job(job)
        return output

    def masked(self, mask, model="smollm2", **parts):
        protect = {"mask": mask, **parts.pop("protect", {})}
        job, output = self.job(model, protect=protect, **parts)
        self.run_job(job)
        self.inspect("verify", output)
        return output

    def test_reuse(self):
        for model in ("smollm2", "mixtral", "phi3"):
            first = self.scored(model)
            again = self.masked(first, model)
            self.assertEqual(self.digest(again), self.digest(first), model)
            report, manifest = self.load(again, "report.json"), self.load(again, "manifest.json")
            self.assertEqual([s["name"] for s in report["stages"]], STAGES)
            before = self.load(first, "report.json")["protection"]
            self.assertEqual(report["protection"]["per_module"], before["per_module"])
            self.assertEqual(report["protection"]["protected"], before["protected"])
            self.assertIsNone(report["protection"]["threshold"])
            path = os.path.join(first, "protected.safetensors")
            self.assertEqual(manifest["inputs"][path]["sha256"],
                self.load(first, "manifest.json")["files"]["protected.safetensors"]["sha256"])
            self.assertEqual(report["job"]["protect"]["mask"], [first])

    def test_other_quantizer(self):
        """The places are the mask's, the values the model's, whatever is around them."""
        first = self.scored()
        other = self.masked(first, quantize={"plugin": "static", "options": {"bits": 8, "granularity": "channel"}})
        self.assertEqual(protected_positions(other), protected_positions(first))
        dense = self.masked(first, protect={"carrier": "dense"})
        self.assertNotIn("protected.safetensors", os.listdir(dense))
        self.assertIn("protected.mask", os.listdir(dense))
        a, b = read_folder(golden("smollm2")), read_folder(dense)
        for module, list_ in protected_positions(first).items():
            cols, size = a[module + ".weight"][1][1], len(a[module + ".weight"][2]) // (a[module + ".weight"][1][0] * a[module + ".weight"][1][1])
            for row, col, _ in list_:
                at = (row * cols + col) * size
                self.assertEqual(a[module + ".weight"][2][at:at + size], b[module + ".weight"][2][at:at + size])

    def test_combine_and_compare(self):
        a, b = self.scored(), self.scored(scorer="wanda", fraction=0.2)
        x, y = places(a), places(b)
        self.assertTrue(x & y and x - y and y - x)
        for how, want in ((None, x | y), ("union", x | y), ("intersection", x & y), ("difference", x - y)):
            out = self.masked([a, b], protect={"combine-masks": how} if how else {})
            self.assertEqual(places(out), want, how)
            self.assertEqual(self.load(out, "report.json")["protection"]["protected"], len(want))
        c = self.scored(scorer="gradient", fraction=0.01)
        self.assertEqual(places(self.masked([b, a, c], protect={"combine-masks": "difference"})), y - x - places(c))
        lines = self.inspect("masks", a, b)
        self.assertEqual(lines[-1].pop("total"), True)
        weights = {n[:-len(".weight")]: t[1][0] * t[1][1] for n, t in read_folder(golden("smollm2")).items()
            if n.endswith("proj.weight")}
        for line in lines[:-1]:
            m = line["module"]
            mine, theirs = {p for p in x if p[0] == m}, {p for p in y if p[0] == m}
            self.check_line(line, mine, theirs)
            self.assertEqual(line["weights"], weights[m])
        self.assertEqual({line["module"] for line in lines[:-1]}, {p[0] for p in x | y})
        self.check_line(lines[-1], x, y)
        self.assertEqual(self.inspect("masks", a, a)[-1]["jaccard"], 1)

    def check_line(self, line, x, y):
        self.assertEqual((line["a"], line["b"], line["both"], line["either"]), (len(x), len(y), len(x & y), len(x | y)))
        self.assertAlmostEqual(line["jaccard"], len(x & y) / len(x | y))

    def by_hand(self, output, name, masks):
        """A copy of an output whose overlay, written here, protects these places only, and without a manifest."""
        copy = self.path(name)
        shutil.copytree(output, copy)
        os.remove(os.path.join(copy, "manifest.json"))
        header, data = {"__metadata__": {"cwp.overlay": "1"}}, b""
        for module, (rows, cols, list_) in masks.items():
            start, gaps = [0], b""
            for row in range(rows):
                at = 0
                for col in sorted(c for r, c in list_ if r == row):
                    gaps += bytes([col - at])
                    at = col + 1
                start.append(len(gaps))
            for kind, dtype, shape, bytes_ in (("start", "U32", [rows + 1], struct.pack("<%dI" % len(start), *start)),
                    ("values", "F32", [len(list_)], bytes(4 * len(list_))), ("gaps", "U8", [len(gaps)], gaps)):
                header[module + "." + kind] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(bytes_)]}
                data += bytes_
        text = json.dumps(header).encode()
        with open(os.path.join(copy, "protected.safetensors"), "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + data)
        return copy

    def shape(self, module):
        return read_folder(golden("smollm2"))[module + ".weight"][1]

    def test_by_hand(self):
        output = self.scored()
        q, down = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
        a = self.by_hand(output, "a", {q: (*self.shape(q), [(0, 0), (0, 9), (3, 1)]), down: (*self.shape(down), [(2, 2)])})
        b = self.by_hand(output, "b", {q: (*self.shape(q), [(0, 9), (5, 5)])})
        lines = {line.get("module", "all"): line for line in self.inspect("masks", a, b)}
        self.assertEqual(set(lines), {q, down, "all"})
        self.assertEqual([lines[q][k] for k in ("a", "b", "both", "either", "jaccard")], [3, 2, 1, 4, 0.25])
        self.assertEqual([lines[down][k] for k in ("a", "b", "both", "either", "jaccard")], [1, 0, 0, 1, 0])
        self.assertEqual([lines["all"][k] for k in ("a", "b", "both", "either", "jaccard")], [4, 2, 1, 5, 0.2])
        self.assertEqual(places(self.masked(a)), {(q, 0, 0), (q, 0, 9), (q, 3, 1), (down, 2, 2)})

    def refused(self, mask, *words, model="smollm2", **parts):
        job, output = self.job(model, protect={"mask": mask}, **parts)
        for verb in ("run",):
            done = self.worker(verb, job)
            self.assertEqual(done.returncode, 65, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        self.assert_nothing(output)

    def other(self):
        """A model of another shape."""
        return make_model(self.path("other"), layers=2, hidden=48, wide=80)

    def test_refusals(self):
        first = self.scored()
        self.refused(self.path("nowhere"), "protect.mask", "has no protected.safetensors")
        plain = self.scored(fraction=0)
        self.refused(plain, "protect.mask", "has no protected.safetensors nor another mask")
        self.refused(first, "protect.mask", "model.layers.0.", "weights, the model with", model=self.other())
        experts = self.scored("mixtral")
        self.refused([first, experts], "protect.mask", "block_sparse_moe.experts", "no module of the model")
        self.refused(first, "quantize.skip", "mlp.down_proj", quantize={"plugin": "int8", "skip": ["mlp.down_proj"]})
        # One bit of a value changed, which no check of the structure sees: what its manifest says tells.
        damaged = self.path("damaged")
        shutil.copytree(first, damaged)
        path = os.path.join(damaged, "protected.safetensors")
        with open(path, "r+b") as f:
            length = struct.unpack("<Q", f.read(8))[0]
            header = json.loads(f.read(length))
            at = 8 + length + next(t for n, t in header.items() if n.endswith(".values"))["data_offsets"][0]
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 1]))
        self.refused(damaged, "not what its manifest says")
        # Cut, or with places that cannot be, the file itself tells.
        with open(path, "r+b") as f:
            f.truncate(os.path.getsize(path) - 10)
        self.refused(damaged, "protect.mask", "protected.safetensors")
        q = "model.layers.0.self_attn.q_proj"
        rows, cols = self.shape(q)
        self.refused(self.by_hand(first, "rows", {q: (rows - 1, cols, [(0, 0)])}), "protect.mask", q)
        self.refused(self.by_hand(first, "columns", {q: (rows, cols, [(0, cols)])}), "protect.mask", q)
        self.refused(self.by_hand(first, "module", {"model.layers.0.other": (rows, cols, [(0, 1)])}), "protect.mask", "other")

    def test_inspect_refusals(self):
        first = self.scored()
        for arguments, status in ((("masks", first), 64), (("masks", first, first, first), 64), (("verify", first, first), 64),
                                  (("masks", first, golden("smollm2")), 65), (("masks", first, self.scored(self.other())), 65)):
            done = subprocess.run([INSPECT, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, status, (arguments, done.stderr))
            self.assertTrue(done.stderr)


if __name__ == "__main__":
    worker_test.main()

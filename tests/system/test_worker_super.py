#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Super weights: one that is planted is found and protected whatever its score, in dense models, in experts and in fused
matrices; none is claimed where none was planted."""
import array
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import WORKER, floats, golden, make_model, protected_positions, read_safetensors, write_safetensors

ROW, COLUMN = 21, 33


def scale(tensors, name, rows, factor):
    """Multiplies rows of a matrix."""
    dtype, shape, _ = tensors[name]
    values = floats(tensors[name])
    for row in rows:
        for i in range(row * shape[1], (row + 1) * shape[1]):
            values[i] *= factor
    tensors[name] = (dtype, shape, values.tobytes())


def plant(tensors, name, value):
    dtype, shape, _ = tensors[name]
    values = floats(tensors[name])
    values[ROW * shape[1] + COLUMN] = value
    tensors[name] = (dtype, shape, values.tobytes())


class Super(worker_test.WorkerTest):
    def guarded(self, model, **protect):
        # Magnitudes of activations only would find it by themselves: the score is one that it does not reach.
        keys = self.protecting("gradient", combine="mean", options={"form": "absolute"})
        keys["protect"] = dict({"fraction": 0.002}, **protect)
        job, output = self.job(model, **keys)
        self.run_job(job)
        self.inspect("verify", output)
        report, manifest = self.load(output, "report.json"), self.load(output, "manifest.json")
        self.assertEqual(report["protection"]["super_weights"], manifest["super_weights"])
        self.assertEqual(report["protection"]["super_added"], manifest["counts"]["super_added"])
        self.assertEqual(report["protection"]["protected"], sum(report["protection"]["per_module"].values()))
        held = sum(len(p) for p in protected_positions(output).values())
        self.assertEqual(held, report["protection"]["protected"] + report["protection"]["super_added"])
        return output, report["protection"]

    def check_planted(self, folder, module):
        output, protection = self.guarded(folder)
        self.assertEqual([(w["module"], w["row"], w["column"], w["value"]) for w in protection["super_weights"]],
            [(module, ROW, COLUMN, 4.0)])
        self.assertIn((ROW, COLUMN), [(r, c) for r, c, _ in protected_positions(output)[module]])
        added = 0 if protection["super_weights"][0]["selected"] else 1
        self.assertEqual(protection["super_added"], added)
        # Without the guard the mask is the same but for it.
        other, without = self.guarded(folder, **{"super-weights": False})
        self.assertEqual((without["super_weights"], without["super_added"]), ([], 0))
        self.assertEqual(without["per_module"], protection["per_module"])
        self.assertEqual(without["threshold"], protection["threshold"])
        self.assertEqual(self.digest(other) == self.digest(output), added == 0)
        return added

    def test_dense(self):
        def spike(tensors, config):
            for name in ("gate_proj", "up_proj"):
                scale(tensors, "model.layers.1.mlp.%s.weight" % name, [COLUMN], 40.0)

        def both(tensors, config):
            spike(tensors, config)
            plant(tensors, "model.layers.1.mlp.down_proj.weight", 4.0)

        def weight(tensors, config):
            plant(tensors, "model.layers.1.mlp.down_proj.weight", 4.0)

        small = {"layers": 3, "hidden": 64, "wide": 96}
        self.check_planted(make_model(self.path("both"), change=both, **small), "model.layers.1.mlp.down_proj")
        for name, change in (("none", None), ("spike", spike), ("weight", weight)):
            _, protection = self.guarded(make_model(self.path(name), change=change, **small))
            self.assertEqual((protection["super_weights"], protection["super_added"]), ([], 0), name)

    def changed(self, model, name, change):
        """A copy of a reference model with other weights."""
        folder = self.path(name)
        os.mkdir(folder)
        shutil.copyfile(os.path.join(golden(model), "config.json"), os.path.join(folder, "config.json"))
        tensors = read_safetensors(os.path.join(golden(model), "model.safetensors"))
        change(tensors)
        write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
        return folder

    def test_experts(self):
        prefix = "model.layers.0.block_sparse_moe.experts.2."

        def change(tensors):
            for name in ("w1", "w3"):
                scale(tensors, prefix + name + ".weight", [COLUMN], 60.0)
            plant(tensors, prefix + "w2.weight", 4.0)

        self.check_planted(self.changed("mixtral", "experts", change), prefix + "w2")

    def test_fused(self):
        def change(tensors):
            inner = tensors["model.layers.0.mlp.down_proj.weight"][1][1]
            scale(tensors, "model.layers.0.mlp.gate_up_proj.weight", [COLUMN, inner + COLUMN], 60.0)
            plant(tensors, "model.layers.0.mlp.down_proj.weight", 4.0)

        self.check_planted(self.changed("phi3", "fused", change), "model.layers.0.mlp.down_proj")

    def test_none_in_random_models(self):
        for model in ("smollm2", "llama31", "gemma2", "mixtral", "qwen2moe", "olmo2"):
            _, protection = self.guarded(model)
            self.assertEqual((protection["super_weights"], protection["super_added"]), ([], 0), model)

    def planted(self):
        def change(tensors, config):
            for name in ("gate_proj", "up_proj"):
                scale(tensors, "model.layers.1.mlp.%s.weight" % name, [COLUMN], 40.0)
            plant(tensors, "model.layers.1.mlp.down_proj.weight", 4.0)

        return make_model(self.path("model"), layers=3, hidden=64, wide=96, change=change)

    def test_found_once(self):
        """What was found is on scratch: a run that was killed behind it goes on from there."""
        folder, scratch = self.planted(), self.path("scratch")
        os.mkdir(scratch)
        keys = self.protecting()
        job, output = self.job(folder, **keys)
        process = subprocess.Popen([WORKER, "run", job, "--scratch", scratch], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not os.path.exists(os.path.join(scratch, "super-weights.json")):
            pass
        process.kill()
        process.wait()
        if not os.path.exists(os.path.join(output, "manifest.json")):
            with open(os.path.join(scratch, "super-weights.json"), encoding="utf-8") as f:
                self.assertEqual(len(json.load(f)["places"]), 1)
            self.run_job(job, "--scratch", scratch)
        self.assertEqual(os.listdir(scratch), [])
        other, again = self.job(folder, **keys)
        self.run_job(other)
        self.assertEqual(self.digest(output), self.digest(again))
        self.assertEqual(self.load(output, "manifest.json")["super_weights"], self.load(again, "manifest.json")["super_weights"])
        self.assertEqual(len(self.load(again, "manifest.json")["super_weights"]), 1)

    def test_budgets_hold_it(self):
        folder = self.planted()
        keys = self.protecting()
        plain, _ = self.guarded(folder, **{"super-weights": False})
        least = self.load(plain, "report.json")["size"]
        bits = 8.0 * least["quantized_bytes"] / self.load(plain, "report.json")["protection"]["weights"]
        # Nothing but the super weight would fit, and not even that.
        keys["protect"] = {"bits": bits + 0.001}
        job, output = self.job(folder, **keys)
        done = self.worker("run", job)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertIn("with no more than its super weights protected the output takes", done.stderr)
        keys["protect"] = {"bits": float(done.stderr.split("the output takes ")[1].split(";")[0])}
        job, output = self.job(folder, **keys)
        self.run_job(job)
        protection = self.load(output, "report.json")["protection"]
        self.assertLessEqual(self.load(output, "manifest.json")["counts"]["bits_per_weight"], keys["protect"]["bits"])
        self.assertEqual((len(protection["super_weights"]), protection["protected"], protection["super_added"]), (1, 0, 1))
        self.assertEqual([(m, r, c) for m, p in protected_positions(output).items() for r, c, _ in p][:1],
            [("model.layers.1.mlp.down_proj", ROW, COLUMN)])


if __name__ == "__main__":
    worker_test.main()

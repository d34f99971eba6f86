#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs on several GPUs of a host (limits.gpus): planned, refused, divided. The GPUs are a plugin of the tests."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from worker_test import FAKE, WORKER


class Gpus(worker_test.OwnPluginsTest):
    own = ("cpu", "fisher", "static", "wanda")
    gpu_plugin = FAKE

    def host(self, devices="GPU-a,GPU-b", **variables):
        return dict(os.environ, CWP_FAKE_DEVICES=devices, **variables)

    def keys(self, gpus, scorer="fisher", **score):
        """Keys of a job whose two sets make several pieces each."""
        critical = self.samples("critical.jsonl", count=14, length=100)
        utility = self.samples("utility.jsonl", count=21, length=100, seed=2)
        return {"calibrate": {"critical": [{"name": "safety", "data": "samples", "path": critical}],
                "utility": [{"name": "text", "data": "samples", "path": utility}]},
            "score": dict(plugin=scorer, **score), "protect": {"fraction": 0.05}, "backend": "cuda", "precision": "f32", "seed": 3,
            "limits": {"gpus": gpus}}

    def plan(self, *arguments, status=0, env=None, **keys):
        job, out = self.job(**keys)
        done = self.worker("plan", job, "--plugin-dir", self.plugins, *arguments, env=env or self.host())
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertFalse(os.path.exists(out))
        return json.loads(done.stdout) if status == 0 else done.stderr

    def refused(self, *words, **more):
        said = self.plan(status=65, **more)
        self.assertEqual(len(said.splitlines()), 1, said)
        for word in words:
            self.assertIn(word, said)

    def run_on(self, gpus, *arguments, env=None, **score):
        job, out = self.job(**self.keys(gpus, **score))
        said = self.run_job(job, "--plugin-dir", self.plugins, *arguments, env=env or self.host())
        self.assertNotIn("checking backend: ", said)
        self.assert_tidy(out)
        return out, said

    def alike(self, out, other):
        """The same job within rounding: importances of the sets, the threshold, and all but a few protected weights."""
        a, b = self.load(out, "report.json"), self.load(other, "report.json")
        self.assertAlmostEqual(a["protection"]["threshold"], b["protection"]["threshold"],
            delta=1e-4 * abs(b["protection"]["threshold"]))
        mine, theirs = worker_test.protected_positions(out), worker_test.protected_positions(other)
        self.assertEqual(sorted(mine), sorted(theirs))
        flipped = sum(len(set(mine[m]) ^ set(theirs[m])) for m in mine)
        self.assertLessEqual(flipped, sum(len(p) for p in mine.values()) // 100)
        return a

    def test_divided(self):
        """Two GPUs: the scores of one within rounding, and the same bytes twice, whichever two they are."""
        one, _ = self.run_on(1)
        two, said = self.run_on(2)
        self.assertIn("divided among 2 GPUs", said)
        self.assertIn("also on GPU-b", said)
        report = self.alike(two, one)
        self.assertEqual([report["device"]["gpus"], report["device"]["uuid"], report["device"]["uuids"]],
            [2, "GPU-a", ["GPU-a", "GPU-b"]])
        self.assertEqual(self.load(one, "report.json")["device"]["uuids"], ["GPU-a"])
        with open(os.path.join(two, "report.html"), encoding="utf-8") as f:
            self.assertIn("GPU-a, GPU-b", f.read())
        self.assertEqual(self.digest(self.run_on(2, "--gpu", "GPU-d,GPU-c", env=self.host("GPU-a,GPU-b,GPU-c,GPU-d"))[0]),
            self.digest(two))

    def test_kinds(self):
        """Statistics of inputs, and a pilot."""
        for score in ({"scorer": "wanda"}, {"scale": "pilot"}):
            with self.subTest(**score):
                self.alike(self.run_on(3, env=self.host("GPU-a,GPU-b,GPU-c"), **score)[0], self.run_on(1, **score)[0])

    def test_plan(self):
        one, two = self.plan(**self.keys(1)), self.plan(**self.keys(2))
        self.assertEqual([one["device"]["gpus"], two["device"]["gpus"]], [1, 2])
        self.assertEqual(two["device"]["uuids"], ["GPU-a", "GPU-b"])
        self.assertGreater(two["bounds"]["memory"], one["bounds"]["memory"])
        # Of each GPU: half the samples.
        self.assertLess(two["bounds"]["gpu_memory"], one["bounds"]["gpu_memory"])
        self.assertEqual(two["warnings"], [])
        # The first of those that were given, but for the one that the job names.
        many = self.host("GPU-a,GPU-b,GPU-c")
        for backend, uuids in (("cuda", ["GPU-c", "GPU-b"]), ("auto", ["GPU-c", "GPU-b"]), ("cuda:GPU-a", ["GPU-a", "GPU-c"])):
            plan = self.plan("--gpu", "GPU-c,GPU-b,GPU-a", env=many, **dict(self.keys(2), backend=backend))
            self.assertEqual(plan["device"]["uuids"], uuids)
        self.assertEqual(self.plan(env=many, **dict(self.keys(2), backend="cuda:GPU-b"))["device"]["uuids"], ["GPU-b", "GPU-a"])
        self.assertEqual(self.plan("--gpu", "GPU-b,GPU-a", **self.keys(1))["device"]["uuids"], ["GPU-b"])

    def test_idle(self):
        """GPUs that a job would hold for nothing are told of."""
        plan = self.plan(backend="cuda", limits={"gpus": 2})
        self.assertIn("of its 2 GPUs it uses one", plan["warnings"][0])
        keys = dict(self.keys(3), calibrate={"critical": [{"name": "safety", "data": "samples",
            "path": self.samples("few.jsonl", count=8, length=100)}]})
        plan = self.plan(env=self.host("GPU-a,GPU-b,GPU-c"), **keys)
        self.assertEqual(plan["warnings"], ["limits.gpus: the samples are so few that 2 of 3 GPUs take part"])

    def test_refused(self):
        self.refused("job1.yaml:1:", "limits.gpus: 3 devices of backend cuda are asked for, but there are 2; ask for fewer", **self.keys(3))
        keys = self.keys(2)
        for given in ("GPU-a", "GPU-a,GPU-a", "GPU-b,GPU-x"):
            said = self.plan("--gpu", given, status=65, **keys)
            self.assertIn("limits.gpus: 2 devices of backend cuda are asked for, but of those that were given there are 1", said)
        self.refused("limits.gpus: 2 GPUs are asked for, but backend: cpu uses none", **dict(keys, backend="cpu"))
        self.refused("limits.gpus: 2 GPUs are asked for, but the job would be computed on the CPU", "ask for one",
            env=self.host(""), **dict(keys, backend="auto"))
        self.assertIn("no GPU was given", self.plan("--gpu", "none", status=65, **dict(keys, backend="auto")))
        job, _ = self.job(**keys)
        for given in ("", "GPU-a,", ",GPU-a", "GPU a", "G" * 64):
            done = self.worker("plan", job, "--gpu", given)
            self.assertEqual(done.returncode, 64, given)
            self.assertIn("no list of UUIDs", done.stderr)

    def test_memory(self):
        """Each GPU has what the plan says; a limit takes the boundaries' room first."""
        need = self.plan(**self.keys(2))["bounds"]["gpu_memory"]
        out, _ = self.run_on(2, env=self.host(CWP_FAKE_MEMORY=str(need + (need >> 3))))
        keys = self.keys(2)
        keys["limits"]["gpu-memory"] = "%dKiB" % ((need >> 10) - 64)
        job, less = self.job(**keys)
        self.run_job(job, "--plugin-dir", self.plugins, env=self.host())
        self.assertLess(self.load(less, "report.json")["bounds"]["gpu_memory"], need)
        self.assertEqual(self.digest(less), self.digest(out))
        keys["limits"]["gpu-memory"] = "2MiB"
        self.refused("limits.gpu-memory is 2097152 bytes", "may need", **keys)
        # What others hold fails the attempt, which may be made again.
        job, out = self.job(**self.keys(2))
        done = self.worker("run", job, "--plugin-dir", self.plugins, env=self.host(CWP_FAKE_MEMORY="%d:%d" % (1 << 30, 3 << 20)))
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("reserve", done.stderr)

    def test_lost(self):
        """A device that is lost in the middle ends the attempt, which a later one makes anew."""
        job, out = self.job(**self.keys(2))
        done = self.worker("run", job, "--plugin-dir", self.plugins, env=self.host(CWP_FAKE_LOST="200"))
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("the device is lost", done.stderr)
        self.assertNotIn("another device's part", done.stderr)
        self.run_job(job, "--plugin-dir", self.plugins, env=self.host())
        self.assertEqual(self.digest(out), self.digest(self.run_on(2)[0]))


if __name__ == "__main__":
    if not os.path.exists(WORKER):
        worker_test.skip("cwp-worker is not built")
    worker_test.main()

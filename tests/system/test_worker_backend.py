#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Which backend and which precision a job gets, and what it says where there is none. GPUs are plugins of the tests."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from byte_tokenizer import write_tokenizer
from worker_test import BUILD, FAKE, INSPECT, PLUGINS, WORKER, ZOO, golden

DEAF = os.path.join(BUILD, "tests", "plugins", "deaf", ".libs", "cuda.so")
MISSING, NO_MEMORY = "-1009", "-12"


class Backends(worker_test.OwnPluginsTest):
    def plan(self, *arguments, code=None, text=None, status=0, **keys):
        """Plans a job; returns the plan, or what was said."""
        job, out = self.job(**dict(self.protecting(), **keys))
        env = dict(os.environ)
        env.update({} if code is None else {"CWP_DEAF_CODE": code, "CWP_DEAF_TEXT": text})
        done = self.worker("plan", job, "--plugin-dir", self.plugins, *arguments, env=env)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assert_nothing(out)
        return json.loads(done.stdout) if status == 0 else done.stderr

    def refused(self, *words, **more):
        said = self.plan(status=65, **more)
        self.assertEqual(len(said.splitlines()), 1, said)
        for word in words:
            self.assertIn(word, said)

    def test_auto(self):
        """auto is a GPU where there is one; without, the plan says why not."""
        device = self.plan()["device"]
        self.assertTrue(device["backend"].startswith("cpu"), device)
        self.assertEqual([device["precision"], device["uuid"], device["why"]], ["f32", None, "plugin cuda is not installed"])
        self.have(DEAF)
        device = self.plan(code=MISSING, text="no NVIDIA driver")["device"]
        self.assertTrue(device["backend"].startswith("cpu"), device)
        self.assertIn("no NVIDIA driver", device["why"])
        device = self.plan("--gpu", "none", code="-5", text="asked in spite of none")["device"]
        self.assertEqual(device["why"], "no GPU was given to this job")
        # What is there and fails is no reason to compute for days on the CPU.
        self.refused("held by another program", code=NO_MEMORY, text="its memory is held by another program")
        self.have(os.path.join(ZOO, "unresolved_backend.so"))
        device = self.plan()["device"]
        self.assertIn("missing_function", device["why"])
        self.assertIsNone(self.plan(backend="cpu")["device"]["why"])

    def test_by_name(self):
        self.refused("backend:", "cuda", "no backend plugin 'cuda'", "--with-cuda", "use backend: cpu", backend="cuda")
        self.have(DEAF)
        for backend in ("cuda", "cuda:GPU-1234"):
            self.refused("backend:", "driver 470 is too old", "use backend: cpu", backend=backend, code=MISSING,
                text="driver 470 is too old")
        self.have(os.path.join(ZOO, "unresolved_backend.so"))
        self.refused("backend:", "cannot be loaded", "missing_function", "use backend: cpu", backend="cuda")
        job, _ = self.job(backend="cuda:GPU-1")
        done = self.worker("plan", job, "--plugin-dir", self.plugins, "--gpu", "GPU-2")
        self.assertEqual(done.returncode, 65)
        self.assertIn("GPU-2", done.stderr)
        done = self.worker("plan", job, "--plugin-dir", self.plugins, "--gpu", "none")
        self.assertIn("no GPU was given", done.stderr)

    def test_precision(self):
        done = subprocess.run([os.path.join(BUILD, "cwp-probe"), os.path.join(PLUGINS, "cpu.so")], stdout=subprocess.PIPE,
            check=True)
        names = [option["name"] for option in json.loads(done.stdout)["options"]]
        self.assertEqual(self.plan(precision="f32")["device"]["precision"], "f32")
        if "precision" in names:
            self.assertEqual(self.plan(precision="bf16")["device"]["precision"], "bf16")
        else:
            self.refused("precision:", "backend cpu", "only f32", "use auto or f32", precision="bf16")

    def test_inspect(self):
        lines = json.dumps({"ids": [1, 2, 3]}) + "\n"

        def logits(*arguments):
            return subprocess.run([INSPECT, "logits", golden("smollm2"), "--out", self.path("l.safetensors"), "--plugin-dir",
                self.plugins] + list(arguments), input=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        self.assertEqual(logits().returncode, 0)
        self.assertEqual(logits("--backend", "cpu", "--precision", "auto").returncode, 0)
        for arguments, status, word in ((("--backend", "gpu"), 64, "cuda:UUID"), (("--precision", "f16"), 64, "bf16"),
                (("--backend", "cuda"), 65, "no backend plugin 'cuda'")):
            done = logits(*arguments)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(word, done.stderr)

    def gpu(self, **variables):
        """The environment of programs that find the checking backend as a GPU."""
        self.have(FAKE)
        return dict(os.environ, **variables)

    def gpu_plan(self, status=0, env=None, **keys):
        job, out = self.job(**dict(self.protecting(), **keys))
        done = self.worker("plan", job, "--plugin-dir", self.plugins, env=env or self.gpu())
        self.assertEqual(done.returncode, status, done.stderr)
        self.assert_nothing(out)
        return json.loads(done.stdout) if status == 0 else done.stderr

    def test_gpu(self):
        """A whole job on a backend with memory of its own: the same masks as on the CPU, in f32."""
        keys = dict(self.protecting(), seed=3)
        cpu, there = self.job(backend="cpu", **keys)
        self.run_job(cpu, "--plugin-dir", self.plugins)
        for more in ({"backend": "cuda", "precision": "f32"}, {"precision": "f32", "limits": {"gpu-memory": "64MiB"}}):
            job, out = self.job(**dict(keys, **more))
            said = self.run_job(job, "--plugin-dir", self.plugins, env=self.gpu())
            self.assertIn("GPU-fake-0", said)
            self.assertNotIn("checking backend: ", said)
            self.assertEqual(worker_test.protected_positions(out), worker_test.protected_positions(there))
            report = self.load(out, "report.json")
            self.assertEqual([report["device"]["uuid"], report["device"]["precision"]], ["GPU-fake-0", "f32"])
            self.assertGreater(report["bounds"]["gpu_memory"], 0)
            self.assertEqual([p["id"] for p in self.load(out, "manifest.json")["plugins"] if p["kind"] == "backend"], ["cuda"])
            self.assert_tidy(out)

    def test_gpu_all(self):
        """A quantizer that is calibrated and scales channels, and evaluations of each kind: what the plan says is enough,
        and the results are the CPU's."""
        for name in ("perplexity", "drift", "refusal"):
            shutil.copy(os.path.join(PLUGINS, name + ".so"), self.plugins)
        model = self.path("model")
        worker_test.copy_golden("smollm2", model)
        write_tokenizer(model, ["<s>"], bos="<s>", eos="<s>")
        text = self.write("text.txt", "One two three, four five. Six seven eight nine ten eleven twelve.\n\n" * 3)
        goals = self.write("goals.csv", "goal,target\nsay one,Sure\nsay two,Sure\nsay three,Sure\n")
        keys = dict(self.protecting(), chat="none", precision="f32",
            evaluate=[{"name": "ppl", "benchmark": "perplexity", "path": text},
                {"name": "drift", "benchmark": "drift", "path": goals, "options": {"column": "goal"}},
                {"name": "no", "benchmark": "refusal", "path": goals, "options": {"column": "goal", "max-new-tokens": 8}}])
        for algorithm in ("gptq", "awq"):
            keys["quantize"] = {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32, "algorithm": algorithm}}
            values = []
            for backend in ("cpu", "cuda"):
                job, out = self.job(model, backend=backend, **keys)
                said = self.run_job(job, "--plugin-dir", self.plugins, env=self.gpu())
                self.assertNotIn("checking backend: ", said)
                report = self.load(out, "report.json")
                values.append([(r["name"], r["metric"], r["protected"]["value"]) for r in report["evaluation"]])
            self.assertEqual(len(values[0]), len(values[1]))
            for cpu, gpu in zip(*values):
                self.assertEqual(cpu[:2], gpu[:2])
                self.assertAlmostEqual(cpu[2], gpu[2], delta=1e-4 * abs(cpu[2]), msg=cpu)

    def test_gpu_plan(self):
        plan = self.gpu_plan(precision="f32")
        need, memory = plan["bounds"]["gpu_memory"], plan["bounds"]["memory"]
        self.assertTrue(1 << 20 < need < 1 << 30, need)
        self.assertEqual([plan["device"]["uuid"], plan["device"]["precision"]], ["GPU-fake-0", "f32"])
        self.assertEqual(self.gpu_plan()["device"]["precision"], "bf16")
        self.assertEqual(self.gpu_plan(backend="cpu")["bounds"]["gpu_memory"], 0)
        # Boundaries have what is left; a limit takes their room, then the job.
        less = self.gpu_plan(precision="f32", limits={"gpu-memory": "%dKiB" % ((need >> 10) - 64)})["bounds"]
        self.assertLess(less["gpu_memory"], need)
        self.assertGreater(less["memory"], memory)
        said = self.gpu_plan(status=65, precision="f32", limits={"gpu-memory": "2MiB"})
        for word in ("limits.gpu-memory is 2097152 bytes", "may need", "raise it", "backend: cpu"):
            self.assertIn(word, said)
        said = self.gpu_plan(status=65, env=self.gpu(CWP_FAKE_MEMORY=str(2 << 20)))
        for word in ("the GPU", "has 2097152 bytes", "may need", "a larger GPU"):
            self.assertIn(word, said)
        # What others hold now is no reason to refuse what may start later.
        self.assertEqual(self.gpu_plan(env=self.gpu(CWP_FAKE_MEMORY="1073741824:0"), precision="f32")["bounds"]["gpu_memory"], need)

    def test_gpu_taken(self):
        """Memory that another program holds: boundaries give way, then the attempt fails in a way that may pass."""
        keys = dict(self.protecting(), precision="f32")
        plan = self.gpu_plan(**keys)
        need = plan["bounds"]["gpu_memory"]
        job, out = self.job(**keys)
        said = self.run_job(job, "--plugin-dir", self.plugins, env=self.gpu(CWP_FAKE_MEMORY="%d:%d" % (1 << 30, need - 65536)))
        self.assertNotIn("checking backend: ", said)
        job, out = self.job(limits={"gpu-wait": "1s"}, **keys)
        done = self.worker("run", job, "--plugin-dir", self.plugins, env=self.gpu(CWP_FAKE_MEMORY="1073741824:1000000"))
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("waited 1 s (limits.gpu-wait)", done.stderr)
        self.assertTrue(os.path.exists(out) is False or not os.path.exists(os.path.join(out, "manifest.json")))

    def test_gpu_lost(self):
        """A device that is lost in the middle: the attempt fails in a way that may pass, and the next one goes on."""
        keys = dict(self.protecting(), precision="f32", seed=5)
        whole, there = self.job(**keys)
        self.run_job(whole, "--plugin-dir", self.plugins, env=self.gpu())
        job, out = self.job(**keys)
        for operation in ("1", "300"):
            done = self.worker("run", job, "--plugin-dir", self.plugins, "--threads", "2", env=self.gpu(CWP_FAKE_LOST=operation))
            self.assertEqual(done.returncode, 75, done.stderr)
            self.assertIn("the device is lost", done.stderr)
            self.assertFalse(os.path.exists(os.path.join(out, "manifest.json")))
        self.run_job(job, "--plugin-dir", self.plugins, env=self.gpu())
        self.assertEqual(self.digest(out), self.digest(there))
        self.assert_tidy(out)

    def test_gpu_full(self):
        job, out = self.job(**dict(self.protecting(), precision="f32"))
        done = self.worker("run", job, "--plugin-dir", self.plugins, env=self.gpu(CWP_FAKE_FULL="1"))
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("reserve", done.stderr)
        # A device that opens badly is no reason for auto to take the CPU.
        done = self.worker("plan", job, "--plugin-dir", self.plugins, env=self.gpu(CWP_FAKE_FAIL="-12:its memory is in use"))
        self.assertEqual(done.returncode, 65)
        self.assertIn("its memory is in use", done.stderr)

    def test_gpu_named(self):
        env = self.gpu(CWP_FAKE_DEVICES="GPU-a,GPU-b")
        self.assertEqual(self.gpu_plan(env=env, backend="cuda:GPU-b")["device"]["uuid"], "GPU-b")
        job, _ = self.job()
        done = self.worker("plan", job, "--plugin-dir", self.plugins, "--gpu", "GPU-b", env=env)
        self.assertEqual(json.loads(done.stdout)["device"]["uuid"], "GPU-b")
        # One that was given and is gone is no reason to take the CPU.
        done = self.worker("plan", job, "--plugin-dir", self.plugins, "--gpu", "GPU-c", env=env)
        self.assertEqual(done.returncode, 65)
        self.assertIn("GPU-c", done.stderr)
        self.assertIn("GPU-c", self.gpu_plan(status=65, env=env, backend="cuda:GPU-c"))
        device = self.gpu_plan(env=self.gpu(CWP_FAKE_DEVICES=""))["device"]
        self.assertTrue(device["backend"].startswith("cpu") and device["why"], device)

    def test_probe(self):
        """Devices, for who opens no plugin."""
        def devices(file, **variables):
            done = subprocess.run([os.path.join(BUILD, "cwp-probe"), "--devices", file], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=dict(os.environ, **variables), text=True)
            return done.returncode, json.loads(done.stdout)

        status, said = devices(FAKE, CWP_FAKE_DEVICES="GPU-a,GPU-b", CWP_FAKE_MEMORY=str(5 << 20))
        self.assertEqual([status, [(d["uuid"], d["memory"]) for d in said["devices"]], said["reason"]],
            [0, [("GPU-a", 5 << 20), ("GPU-b", 5 << 20)], None])
        status, said = devices(DEAF, CWP_DEAF_CODE=MISSING, CWP_DEAF_TEXT="no NVIDIA driver")
        self.assertEqual([status, said["devices"]], [0, []])
        self.assertIn("no NVIDIA driver", said["reason"])
        status, said = devices(os.path.join(PLUGINS, "cpu.so"))
        self.assertEqual([status, said["devices"]], [0, []])
        status, said = devices(os.path.join(PLUGINS, "static.so"))
        self.assertEqual(status, 65)
        self.assertIn("only backends have devices", said["error"]["message"])

    def test_record(self):
        """Report and manifest say what ran."""
        job, out = self.job(**self.protecting())
        self.run_job(job, "--plugin-dir", self.plugins)
        for name in ("report.json", "manifest.json"):
            device = self.load(out, name)["device"]
            self.assertEqual([device["precision"], device["uuid"]], ["f32", None])
            self.assertEqual(device["backend"], self.load(out, name)["backend"])
        with open(os.path.join(out, "report.html"), encoding="utf-8") as f:
            self.assertIn("plugin cuda is not installed", f.read())


if __name__ == "__main__":
    if not os.path.exists(WORKER):
        worker_test.skip("cwp-worker is not built")
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs of a whole daemon on several GPUs, with the worker that is installed; the GPUs are a plugin of the tests."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test
import worker_test
from worker_test import BUILD, PLUGINS

FAKE = os.path.join(BUILD, "tests", "plugins", "fake", ".libs", "cuda.so")
CONFIG = "limits: {jobs: 4, threads: 4, grace: 1s}\nretry: {delay: 0s, longest-delay: 0s}\n"


class Daemon(daemon_test.Daemon):
    def environment(self):
        return dict(super().environment(), CWP_FAKE_DEVICES="GPU-a,GPU-b")


class Divided(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.daemon = Daemon(CONFIG)
        self.addCleanup(self.daemon.remove)
        self.addCleanup(self.daemon.stop)
        for name in ("cwp-worker", "cwp-probe"):
            daemon_test.make_executable(self.daemon.path("libexec", name), '#!/bin/sh\nexec "%s" "$@"\n' % os.path.join(BUILD, name))
        for name in ("cpu", "fisher", "static"):
            shutil.copy(os.path.join(PLUGINS, name + ".so"), self.daemon.path("plugins"))
        shutil.copy(FAKE, self.daemon.path("plugins"))
        self.daemon.start()

    def cwpctl(self, *arguments):
        done = subprocess.run([os.path.join(BUILD, "cwpctl"), "--socket", self.daemon.path("run", "cwp")] + list(arguments),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def text(self, gpus):
        path = self.samples("set.jsonl", count=21, length=100)
        file, output = self.job(calibrate={"critical": [{"name": "safety", "data": "samples", "path": path}]},
            score={"plugin": "fisher"}, protect={"fraction": 0.05}, precision="f32", seed=3, limits={"gpus": gpus, "threads": 1})
        with open(file, encoding="utf-8") as f:
            return f.read(), output, file

    def submit(self, gpus):
        text, output, _ = self.text(gpus)
        return self.daemon.jobs("Submit", job=text, directory=self.folder, key="key-%s" % os.path.basename(output))["id"], output

    def test_divided(self):
        """Two jobs for the same pair run one after the other to the same bytes, and score as on one GPU."""
        jobs = [self.submit(gpus) for gpus in (2, 2, 1)]
        ended = self.daemon.wait(*[id for id, _ in jobs])
        self.assertEqual(set(ended.values()), {"done"}, self.daemon.read_log())
        first, second, one = [self.daemon.jobs("Describe", id=id)["job"] for id, _ in jobs]
        self.assertEqual([a["gpus"] for a in first["attempts"] + second["attempts"]], [["GPU-a", "GPU-b"]] * 2)
        self.assertEqual([first["resources"]["gpus"], one["resources"]["gpus"]], [2, 1])
        self.assertEqual(len(one["attempts"][0]["gpus"]), 1)
        self.assertGreaterEqual(second["attempts"][0]["started"], first["attempts"][0]["ended"])
        outputs = [output for _, output in jobs]
        self.assertEqual(self.digest(outputs[0]), self.digest(outputs[1]))
        reports = [self.load(output, "report.json") for output in outputs]
        self.assertEqual(reports[0]["device"]["uuids"], ["GPU-a", "GPU-b"])
        thresholds = [report["protection"]["threshold"] for report in reports]
        self.assertAlmostEqual(thresholds[0], thresholds[2], delta=1e-4 * abs(thresholds[2]))
        found = [worker_test.protected_positions(output) for output in outputs]
        flipped = sum(len(set(found[0][m]) ^ set(found[2][m])) for m in found[0])
        self.assertLessEqual(flipped, sum(len(p) for p in found[0].values()) // 100)
        # What a person sees of it.
        status, said = self.cwpctl("show", jobs[0][0])
        self.assertEqual(status, 0, said)
        self.assertIn("on GPU-a and GPU-b", said)
        self.assertRegex(said, "2 GPUs, memory .*, GPU memory .* each")
        status, said = self.cwpctl("submit", "--dry-run", self.text(2)[2])
        self.assertEqual(status, 0, said)
        self.assertRegex(said, "GPUs +2\n +memory of each")
        file = self.text(3)[2]
        status, said = self.cwpctl("submit", file)
        self.assertEqual(status, 65, said)
        self.assertIn("limits.gpus: 3 GPUs are asked for, but the daemon gives its jobs 2", said)
        self.assertIn("%s:1:" % file, said)


if __name__ == "__main__":
    worker_test.main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""An output folder that is moved, replaced or removed while it is being written: the job ends with one error that names the
folder, and loses nothing; run again, it goes on."""
import os
import shutil
import signal
import subprocess
import tempfile
import time

import worker_test
from worker_test import WORKER

TRIES = 40


class Moved(worker_test.WorkerTest):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="cwp-moved-")
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.model = worker_test.make_model(os.path.join(cls.shared, "model"), layers=8)

    def setUp(self):
        super().setUp()
        self.parts = self.protecting()
        job, output = self.job(self.model, **self.parts)
        self.run_job(job)
        self.right = self.digest(output)
        self.scratch = self.path("scratch")

    def writes(self, output):
        """Whether there is more than the mark of the job."""
        return os.path.isdir(output) and set(os.listdir(output)) - {".cwp-job"}

    def stopped(self):
        """A worker that is stopped while it writes its output, the job and the output."""
        for n in range(TRIES):
            job, output = self.job(self.model, output=self.path("out-%d" % n), **self.parts)
            process = subprocess.Popen([WORKER, "run", job, "--threads", "1", "--scratch", self.scratch], stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True)
            while process.poll() is None and not self.writes(output):
                time.sleep(0.0005)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.01)  # until it is
            if process.poll() is None and not os.path.exists(os.path.join(output, "manifest.json")):
                return process, job, output
            process.send_signal(signal.SIGCONT)
            process.communicate(timeout=worker_test.TIMEOUT)
        self.fail("a worker was never seen while it wrote")

    def ends(self, process, output):
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=worker_test.TIMEOUT)[1]
        self.assertNotIn(process.returncode, (0, 2), said)
        errors = [line for line in said.splitlines() if "cwp-worker:" in line or "job" in line]
        self.assertEqual(len(errors), 1, said)
        self.assertIn(output, errors[0])
        self.assertTrue([n for n in os.listdir(self.scratch) if n.startswith("score-")], "scores are kept")
        return errors[0]

    def goes_on(self, job, output):
        self.run_job(job, "--scratch", self.scratch)
        self.assertEqual(self.digest(output), self.right)
        self.inspect("verify", output)

    def test_moved(self):
        process, job, output = self.stopped()
        os.rename(output, output + "-away")
        self.assertIn("moved or removed", self.ends(process, output))
        self.assertFalse(os.path.exists(output))
        self.assertFalse(os.path.exists(os.path.join(output + "-away", "manifest.json")))
        os.rename(output + "-away", output)
        self.goes_on(job, output)

    def test_replaced(self):
        process, job, output = self.stopped()
        os.rename(output, output + "-away")
        os.mkdir(output)
        self.assertIn("moved or removed", self.ends(process, output))
        self.assertEqual(os.listdir(output), [])  # no manifest of nothing
        self.goes_on(job, output)

    def test_removed(self):
        process, job, output = self.stopped()
        shutil.rmtree(output)
        self.ends(process, output)
        self.goes_on(job, output)


if __name__ == "__main__":
    worker_test.main()

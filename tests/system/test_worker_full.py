#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Disks that fill up in the middle of a job: it fails with one error that says where, keeps what it has, and goes on when
there is room. Runs in a mount namespace of its own, with small file systems in it."""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import worker_test
from worker_test import WORKER

MARK = "CWP_OWN_MOUNTS"


class Full(worker_test.WorkerTest):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="cwp-full-")
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.model = worker_test.make_model(os.path.join(cls.shared, "model"), layers=6)

    def setUp(self):
        super().setUp()
        parts = self.protecting()
        with open(parts["calibrate"]["critical"][0]["path"], encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        parts["calibrate"]["critical"][0]["path"] = self.write("many.jsonl", "".join(
            json.dumps(dict(line, group=1000 * i + line["group"])) + "\n" for i in range(8) for line in lines))
        self.parts = parts
        job, output = self.job(self.model, **parts)
        self.bound = json.loads(self.worker("plan", job).stdout)["bounds"]["scratch"]
        self.run_job(job)
        self.right = self.digest(output)

    def disk(self, name, size):
        path = self.path(name)
        os.mkdir(path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "none", path], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", path])
        return path

    def fill(self, folder, leave=0):
        """Takes all room but `leave` bytes."""
        st = os.statvfs(folder)
        size = st.f_bavail * st.f_frsize - leave
        fd = os.open(os.path.join(folder, "filler"), os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(fd, 0, size)
        os.close(fd)

    def layers(self, scratch):
        try:
            with open(os.path.join(scratch, "journal"), encoding="utf-8") as f:
                return [json.loads(line)["layer"] for line in f if line.endswith("\n") and '"layer"' in line]
        except FileNotFoundError:
            return []

    def assert_one_error(self, said, *words):
        errors = [line for line in said.splitlines() if "cwp-worker:" in line or "job" in line]
        self.assertEqual(len(errors), 1, said)
        for word in words:
            self.assertIn(word, errors[0])

    def test_scratch(self):
        disk = self.disk("disk", self.bound + (8 << 20))
        scratch = os.path.join(disk, "scratch")
        job, output = self.job(self.model, **self.parts)
        process = subprocess.Popen([WORKER, "run", job, "--threads", "2", "--scratch", scratch], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not self.layers(scratch):
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        self.fill(disk)
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=worker_test.TIMEOUT)[1]
        self.assertEqual(process.returncode, 75, said)
        self.assert_one_error(said, "No space left")
        done = self.layers(scratch)
        self.assertTrue(done)
        stamps = [os.stat(os.path.join(scratch, "score-0-%d.f32" % layer)).st_mtime_ns for layer in done]
        # Still full: it says so before it begins, and keeps what it has.
        again = self.worker("run", job, "--scratch", scratch)
        self.assertEqual(again.returncode, 75, again.stderr)
        self.assert_one_error(again.stderr, "bytes free", "free space or choose another folder")
        self.assertEqual(self.layers(scratch), done)
        # Room for what is left of the job is enough: what lies on scratch already counts.
        os.unlink(os.path.join(disk, "filler"))
        self.fill(disk, leave=self.bound - sum(os.stat(os.path.join(scratch, n)).st_blocks * 512 for n in os.listdir(scratch)) + 65536)
        process = subprocess.Popen([WORKER, "run", job, "--threads", "2", "--scratch", scratch], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        now = stamps
        while process.poll() is None:
            try:
                now = [os.stat(os.path.join(scratch, "score-0-%d.f32" % layer)).st_mtime_ns for layer in done]
            except FileNotFoundError:
                pass
        said = process.communicate()[1]
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual(now, stamps)  # those layers were not made again
        self.assertEqual(self.digest(output), self.right)
        self.assertEqual(os.listdir(scratch), [])

    def test_output(self):
        disk = self.disk("disk", 2 << 20)
        job, output = self.job(self.model, output=os.path.join(disk, "out"), **self.parts)
        scratch = self.path("scratch")
        said = self.run_job(job, "--scratch", scratch, status=75)
        self.assert_one_error(said, "No space left")
        self.assertEqual(len(self.layers(scratch)), 6)
        self.assertFalse(os.path.exists(os.path.join(output, "manifest.json")))
        self.assertEqual(self.worker("run", job, "--scratch", scratch).returncode, 75)
        subprocess.run(["mount", "-o", "remount,size=%d" % (64 << 20), disk], check=True)
        said = self.run_job(job, "--scratch", scratch)
        self.assertEqual(self.digest(output), self.right)
        self.inspect("verify", output)
        self.assertEqual(os.listdir(scratch), [])

    def test_cache_gives_way(self):
        """What is only kept for later jobs is no reason to refuse one; its own entry is not in its way."""
        disk = self.disk("disk", self.bound + (8 << 20))
        cache, scratch = os.path.join(disk, "cache"), os.path.join(disk, "scratch")
        arguments = ("--cache", cache, "--scratch", scratch)
        job, output = self.job(self.model, **self.parts)
        self.run_job(job, *arguments)
        self.assertEqual(self.digest(output), self.right)
        entry, = worker_test.cache_entries(cache)
        # The same scores again: the entry stays, since its tiles are where the job needs them.
        job, output = self.job(self.model, **self.parts)
        self.run_job(job, *arguments)
        self.assertTrue(self.load(output, "report.json")["scores_cached"])
        self.assertEqual(self.digest(output), self.right)
        self.assertEqual(worker_test.cache_entries(cache), [entry])
        # Others: the entry goes.
        job, output = self.job(self.model, **dict(self.parts, score={"plugin": "gradient"}))
        self.run_job(job, *arguments)
        self.assertEqual(len(worker_test.cache_entries(cache)), 1)
        self.assertNotEqual(worker_test.cache_entries(cache), [entry])

    def test_cache_is_full(self):
        """A cache on a full disk is no failure."""
        disk = self.disk("disk", 1 << 20)
        job, output = self.job(self.model, **self.parts)
        said = self.run_job(job, "--cache", os.path.join(disk, "cache"))
        self.assertIn("scores are not kept", said)
        self.assertEqual(worker_test.cache_entries(os.path.join(disk, "cache")), [])
        self.assertEqual(self.digest(output), self.right)

    def test_file_size_limit(self):
        """RLIMIT_FSIZE: the same by another way."""
        job, output = self.job(self.model, **self.parts)
        done = self.worker("run", job, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assert_one_error(done.stderr, "File too large")
        self.run_job(job)
        self.assertEqual(self.digest(output), self.right)
        self.assert_tidy(output)


def own_mounts():
    """Starts again in a mount namespace of its own, as root of it where it takes that."""
    for options in (["-m"], ["-r", "-m"]):
        command = ["unshare"] + options
        try:
            probe = subprocess.run(command + ["mount", "-t", "tmpfs", "none", "/tmp"], stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            break
        if probe.returncode == 0:
            os.environ[MARK] = "1"
            os.execvp("unshare", command + [sys.executable] + sys.argv)
    worker_test.skip("no mount namespace: small file systems need root or user namespaces")


if __name__ == "__main__":
    if not os.environ.get(MARK):
        own_mounts()
    worker_test.main()

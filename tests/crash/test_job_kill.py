#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the daemon, and of its workers, at random moments of real jobs: every job ends as done, with the bytes of an
undisturbed run, and nothing is left behind. CWP_KILLS sets the number of workers killed (20; half as many daemons)."""
import json
import os
import random
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import daemon_test
import worker_test

KILLS = int(os.environ.get("CWP_KILLS", "20"))


class RealDaemon(daemon_test.Daemon):
    """With the worker, the probe and the plugins of the build."""

    def __init__(self, config):
        super().__init__(config)
        for name in ("cwp-worker", "cwp-probe"):
            os.unlink(self.path("libexec", name))
            os.symlink(os.path.join(worker_test.BUILD, name), self.path("libexec", name))

    def environment(self):
        return dict(super().environment(), CWP_PLUGIN_DIR=worker_test.PLUGINS)

    def workers(self):
        """Processes that run an attempt of this daemon."""
        found = []
        for name in os.listdir("/proc"):
            try:
                with open("/proc/%d/stat" % int(name)) as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                with open("/proc/%s/cmdline" % name) as f:
                    if parent == self.process.pid and "\0attempt\0" in f.read():
                        found.append(int(name))
            except (OSError, ValueError, IndexError):
                pass
        return found


class JobKill(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(int(os.environ.get("CWP_SEED", "1")))
        self.daemon = RealDaemon("limits: {jobs: 1, threads: 2, grace: 1s}\nretry: {interruptions: 100}\n"
            "cache: {size: 0}\n")
        self.addCleanup(self.daemon.remove)
        self.daemon.start()
        model = worker_test.make_model(self.path("model"), layers=6)
        parts = self.protecting()
        with open(parts["calibrate"]["critical"][0]["path"], encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        parts["calibrate"]["critical"][0]["path"] = self.write("many.jsonl", "".join(
            json.dumps(dict(line, group=1000 * i + line["group"])) + "\n" for i in range(12) for line in lines))
        self.make = lambda: self.job(model, **parts)
        begin = time.monotonic()
        id, output = self.submit()
        self.assertEqual(self.daemon.wait(id)[id], "done", self.reason(id))
        self.duration = time.monotonic() - begin
        self.content = self.digest(output)

    def submit(self):
        job, output = self.make()
        with open(job, encoding="utf-8") as f:
            text = f.read()
        return self.daemon.jobs("Submit", job=text, directory=self.folder, key=str(uuid.uuid4()))["id"], output

    def reason(self, id):
        return "%s\n%s" % (self.daemon.jobs("Describe", id=id), self.daemon.read_log())

    def end(self, id, output):
        state = self.daemon.wait_state(id, "done", "failed", "cancelled", "rejected", seconds=worker_test.TIMEOUT)
        self.assertEqual(state, "done", self.reason(id))
        self.assertEqual(self.digest(output), self.content)
        self.assertEqual(self.inspect("verify", output)[0]["content_digest"], self.content)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any("scratch" in n for n in os.listdir(self.folder)):
            time.sleep(0.02)
        self.assert_tidy(output)

    def torment(self, kills, kill):
        """Kills while jobs run, one after the other, until there were enough kills and the last job has ended."""
        done = jobs = 0
        while done < kills:
            id, output = self.submit()
            jobs += 1
            while done < kills:
                time.sleep(self.rng.random() * self.duration)
                if self.daemon.state(id) == "done":
                    break
                done += kill()
            self.end(id, output)
        return jobs

    def test_daemon(self):
        def kill():
            self.daemon.kill()
            self.daemon.start()
            return 1

        jobs = self.torment(KILLS // 2, kill)
        print("%d daemons killed, %d jobs done" % (KILLS // 2, jobs))
        self.assertEqual(self.daemon.stop(), 0, self.daemon.read_log())

    def test_workers(self):
        def kill():
            for pid in self.daemon.workers():
                try:
                    os.kill(pid, 9)
                    return 1
                except OSError:
                    pass
            return 0

        jobs = self.torment(KILLS, kill)
        print("%d workers killed, %d jobs done" % (KILLS, jobs))
        self.assertEqual(self.daemon.stop(), 0, self.daemon.read_log())


if __name__ == "__main__":
    worker_test.main()

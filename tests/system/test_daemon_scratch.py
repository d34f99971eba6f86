#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What jobs of a daemon leave beside their outputs: scratch goes with them, in whatever way they end or are forgotten;
the cache of scores stays, within its size and age."""
import json
import os
import shutil
import sqlite3
import sys
import time
import unittest
import uuid

import daemon_test
import worker_test

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "crash"))
from test_job_kill import RealDaemon


def gone(path, seconds=20):
    deadline = time.monotonic() + seconds
    while os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not os.path.exists(path)


class Scratch(daemon_test.DaemonTest):
    """With a worker that does as the job's name says."""

    def scratch(self, id):
        folder, name = os.path.split(self.daemon.jobs("Describe", id=id)["job"]["output"])
        return os.path.join(folder, ".%s.scratch-%s" % (name, id))

    def end(self, name, state, more=""):
        id = self.daemon.submit(name, more=more)
        path = self.scratch(id)
        self.assertEqual(self.daemon.wait(id)[id], state)
        return id, path

    def again(self):
        self.daemon.start()

    def sql(self, text, *parameters):
        db = sqlite3.connect(self.daemon.path("state", "cwp", "cwpd.db"))
        with db:
            db.execute(text, parameters)
        db.close()

    def test_every_end(self):
        for name, state, more in (("plain", "done", ""), ("fail", "failed", ""), ("reject", "rejected", ""), ("exit=3", "failed", ""),
                ("steps=1 step=60", "failed", "limits: {time: 1s}\n")):
            path = self.end(name, state, more)[1]
            self.assertTrue(gone(path), (name, os.path.exists(path)))
        id = self.daemon.submit("steps=1 step=60")
        self.daemon.wait_stage(id)
        path = self.scratch(id)
        self.assertTrue(os.path.exists(path))
        self.daemon.jobs("Hold", id=id)
        self.daemon.wait_state(id, "paused")
        self.assertTrue(os.path.exists(path))  # a paused job goes on from there
        self.daemon.jobs("Cancel", id=id)
        self.assertTrue(gone(path))
        id = self.daemon.submit("steps=1 step=60")
        self.daemon.wait_stage(id)
        path = self.scratch(id)
        self.daemon.jobs("Cancel", id=id)
        self.daemon.wait_state(id, "cancelled")
        self.assertTrue(gone(path))

    def test_kept_for_a_retry(self):
        """A failure that may pass leaves what the next attempt goes on from; it goes when the job goes."""
        self.daemon.configure("limits: {jobs: 1, grace: 1s}\nretry: {attempts: 1}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        id, path = self.end("full", "failed")
        time.sleep(1.5)
        self.assertTrue(os.path.exists(os.path.join(path, "tried")))
        self.assertEqual(self.daemon.stop(), 0)
        self.again()
        self.assertTrue(os.path.exists(os.path.join(path, "tried")))
        self.daemon.jobs("Retry", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertTrue(gone(path))
        id, path = self.end("full", "failed")
        self.daemon.jobs("Remove", id=id)
        self.assertTrue(gone(path))
        self.assertTrue(gone(self.daemon.path("state", "cwp", "orphans", str(id))))

    def test_kept_for_a_while(self):
        self.daemon.configure("limits: {jobs: 1, grace: 1s}\nretry: {attempts: 1}\nretention: {scratch: 2s}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        id, path = self.end("full", "failed")
        self.assertTrue(os.path.exists(path))
        self.assertTrue(gone(path))
        self.assertEqual(self.daemon.state(id), "failed")
        self.daemon.jobs("Retry", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "failed")  # it begins anew

    def test_orphans_beside_outputs(self):
        """A daemon that died after a job was forgotten and before its folder was gone."""
        self.daemon.configure("limits: {jobs: 1, grace: 1s}\nretry: {attempts: 1}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        id, path = self.end("full", "failed")
        other, kept = self.end("full", "failed")
        self.assertEqual(self.daemon.stop(), 0)
        self.sql("DELETE FROM attempts WHERE job = ?", id)
        self.sql("DELETE FROM jobs WHERE id = ?", id)
        notes = self.daemon.path("state", "cwp", "orphans")
        os.makedirs(notes, exist_ok=True)
        elsewhere = self.daemon.path("work", "elsewhere")
        os.mkdir(elsewhere)
        for name, text in ((id, path), (other, kept), (4711, elsewhere), (4712, "relative-4712"), (4713, elsewhere + "-4713\0")):
            with open(os.path.join(notes, str(name)), "w", encoding="utf-8") as f:
                f.write(text)
        self.again()
        self.assertTrue(gone(path))
        self.assertTrue(gone(os.path.join(notes, str(id))))
        # A job that is known needs no note, and what is no scratch folder's name is left alone.
        self.assertTrue(gone(os.path.join(notes, str(other))))
        self.assertTrue(os.path.exists(kept))
        self.assertTrue(os.path.exists(elsewhere))
        self.assertEqual(self.daemon.read_log().count("names no scratch folder"), 3)

    def test_orphans_of_a_common_folder(self):
        folder = self.daemon.path("scratch")
        self.daemon.configure("limits: {jobs: 1, grace: 1s}\nretry: {attempts: 1}\nscratch: %s\n" % folder)
        self.assertEqual(self.daemon.stop(), 0)
        for name in ("job-4711", "job-0", "job-x", "cache", "jobs"):
            os.makedirs(os.path.join(folder, name, "deep"))
        self.again()
        self.assertTrue(gone(os.path.join(folder, "job-4711")))
        id = self.end("full", "failed")[0]
        self.assertEqual(self.daemon.stop(), 0)
        self.again()
        self.daemon.wait(self.daemon.submit("plain"))
        self.assertTrue(gone(os.path.join(folder, "job-%s" % (int(id) + 1))))
        self.assertEqual(sorted(os.listdir(folder)), sorted(["cache", "job-%s" % id, "job-0", "job-x", "jobs"]))


@unittest.skipUnless(os.path.exists(os.path.join(worker_test.golden("smollm2"), "config.json")), "no reference models")
class Cache(worker_test.WorkerTest):
    """With the worker of the build."""

    def begin(self, config):
        self.daemon = RealDaemon("limits: {jobs: 1, threads: 2, grace: 1s}\n" + config)
        self.addCleanup(self.daemon.remove)
        self.daemon.start()

    def end(self, **parts):
        job, output = self.job(**dict(self.protecting(), **parts))
        with open(job, encoding="utf-8") as f:
            id = self.daemon.jobs("Submit", job=f.read(), directory=self.folder, key=str(uuid.uuid4()))["id"]
        self.assertEqual(self.daemon.wait(id)[id], "done", self.daemon.read_log())
        return self.load(output, "report.json")["scores_cached"], self.digest(output)

    def test_jobs_share_scores(self):
        self.begin("")
        cache = self.daemon.path("state", "cwp", "cache")
        one, two = self.end(), self.end()
        self.assertEqual((one[0], two[0]), (False, True))
        self.assertEqual(one[1], two[1])
        entries = worker_test.cache_entries(cache)
        self.assertEqual(len(entries), 1)
        # Too old: gone though no job runs.
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon.configure("limits: {jobs: 1, threads: 2, grace: 1s}\ncache: {age: 1h}\n")
        old = time.time() - 7200
        os.utime(os.path.join(cache, entries[0]), (old, old))
        self.daemon.start()
        self.assertTrue(gone(os.path.join(cache, entries[0])))
        self.assertEqual(self.end()[0], False)
        self.assertEqual(self.daemon.stop(), 0)

    def test_places(self):
        folder = self.path("scratch")
        self.begin("scratch: %s\n" % folder)
        self.end()
        self.assertEqual(len(worker_test.cache_entries(os.path.join(folder, "cache"))), 1)
        self.daemon.configure("limits: {jobs: 1, threads: 2, grace: 1s}\nscratch: %s\ncache: {path: %s}\n" % (folder, self.path("own")))
        self.daemon.call("org.cwpd.Admin.Reload")
        self.assertEqual(self.end()[0], False)
        self.assertEqual(len(worker_test.cache_entries(self.path("own"))), 1)
        self.daemon.configure("limits: {jobs: 1, threads: 2, grace: 1s}\nscratch: %s\ncache: {size: 0}\n" % folder)
        self.daemon.call("org.cwpd.Admin.Reload")
        self.assertEqual(self.end()[0], False)
        self.assertEqual(self.daemon.stop(), 0)


if __name__ == "__main__":
    daemon_test.main()

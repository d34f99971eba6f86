# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the daemon and of workers at random moments, again and again: no accepted job is lost, none is done
twice, no worker outlives its daemon for long, nothing is left behind. CWP_KILLS sets the number of kills (20)."""
import os
import random
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import daemon_test
from daemon_test import Gone

KILLS = int(os.environ.get("CWP_KILLS", "20"))


class Submitter(threading.Thread):
    """Submits without end, each job with a key of its own; sends again until there is an answer."""

    def __init__(self, daemon, accepted):
        super().__init__(daemon=True)
        self.daemon_under_test = daemon
        self.accepted = accepted
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            key, output = str(uuid.uuid4()), "out-" + uuid.uuid4().hex
            while not self.stopping.is_set():
                try:
                    id = self.daemon_under_test.submit("steps=2 step=0.01", output=output, key=key)
                except (OSError, Gone):
                    time.sleep(0.01)
                    continue
                self.accepted[key] = (id, output)
                break
            time.sleep(0.02)


class Kill(daemon_test.DaemonTest):
    config = "limits: {jobs: 3, threads: 3, grace: 1s}\nretry: {interruptions: 100}\n"

    def finish(self, accepted, seconds=300):
        """All accepted jobs end as done, each once."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self.daemon.client() as client:
                pages = list(client.stream("org.cwpd.Jobs.List"))
            jobs = {job["id"]: job for page in pages for job in page["jobs"]}
            if all(job["state"] in ("done", "failed", "cancelled", "rejected") for job in jobs.values()):
                break
            time.sleep(0.1)
        for id, output in accepted.values():
            self.assertIn(id, jobs, "an accepted job is lost")
            self.assertEqual(jobs[id]["state"], "done", jobs[id])
        ids = [id for id, _ in accepted.values()]
        self.assertEqual(len(ids), len(set(ids)), "two keys got one job")
        names = os.listdir(self.daemon.path("work"))
        deadline = time.monotonic() + 20
        while any("scratch" in name for name in names) and time.monotonic() < deadline:
            time.sleep(0.05)
            names = os.listdir(self.daemon.path("work"))
        self.assertEqual([name for name in names if "scratch" in name], [])
        self.assertEqual(sorted(os.listdir(self.daemon.path("state", "cwp"))),
            ["cwpd.db", "cwpd.db-shm", "cwpd.db-wal", "lock", "logs"])
        return jobs

    def test_daemon(self):
        rng = random.Random(int(os.environ.get("CWP_SEED", "1")))
        accepted = {}
        submitters = [Submitter(self.daemon, accepted) for _ in range(3)]
        for submitter in submitters:
            submitter.start()
        for _ in range(KILLS):
            time.sleep(rng.random() * 0.5)
            self.daemon.kill()
            self.daemon.start(wait=rng.random() < 0.7)
        for submitter in submitters:
            submitter.stopping.set()
        for submitter in submitters:
            submitter.join(60)
        if self.daemon.process.poll() is None:
            self.daemon.wait_ready()
        self.assertGreater(len(accepted), KILLS)
        jobs = self.finish(accepted)
        # Jobs whose answer was lost may be there besides; nobody else's are.
        self.assertLessEqual(len(jobs), len(accepted) + 3 * (KILLS + 1))
        print("%d kills, %d jobs accepted, %d there" % (KILLS, len(accepted), len(jobs)))

    def test_worker(self):
        rng = random.Random(int(os.environ.get("CWP_SEED", "1")))
        id = self.daemon.submit("resume steps=150 step=0.02")
        killed = 0
        while killed < KILLS:
            time.sleep(rng.random() * 0.15)
            if self.daemon.state(id) == "done":
                break
            try:
                os.kill(self.daemon.worker_pid(id), 9)
                killed += 1
            except (OSError, IndexError, ValueError):
                pass
        self.assertEqual(self.daemon.wait(id)[id], "done")
        job = self.daemon.jobs("Describe", id=id)["job"]
        with open(job["output"] + "/runs") as f:
            self.assertEqual(f.read(), "done\n")
        interrupted = [a for a in job["attempts"] if a["result"] == "interrupted"]
        self.assertGreaterEqual(len(interrupted), min(killed, 3))
        self.assertEqual([a["number"] for a in job["attempts"]], list(range(1, len(job["attempts"]) + 1)))
        print("%d kills, %d attempts" % (killed, len(job["attempts"])))


if __name__ == "__main__":
    daemon_test.main()

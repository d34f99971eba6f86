#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Sweeps in the daemon: one submission, one transaction, a state that follows from those of the jobs, one report; steering
the whole and its parts; a daemon that is killed in the middle."""
import json
import os
import sqlite3
import sys
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test
from daemon_test import Failed

WIDE = "limits: {jobs: 8, threads: 8, grace: 1s}\n"
CALIBRATED = "calibrate: {critical: [{name: a, data: text, path: a.txt}]}\nscore: {plugin: fisher}\nlimits: {threads: 1}\n"


class SweepTest(daemon_test.DaemonTest):
    def sweep(self, name, matrix, more="", **parameters):
        """Submits; returns the ids of the sweep and of its jobs. The output is `output`."""
        count = 1
        for values in matrix.values():
            count *= len(values)
        text = "points=%d %s" % (count, name)
        self.output = self.daemon.path("work", "out-" + uuid.uuid4().hex)
        id = self.daemon.submit(text, self.output, more + "matrix: %s\n" % json.dumps(matrix), **parameters)
        return id, [str(int(id) + 1 + i) for i in range(count)]

    def states(self, ids):
        return [self.daemon.state(id) for id in ids]

    def detail(self, id):
        return self.daemon.jobs("Describe", id=id)["job"]

    def bad_state(self, method, **parameters):
        with self.assertRaises(Failed) as caught:
            self.daemon.jobs(method, **parameters)
        self.assertEqual(caught.exception.error, "org.cwpd.Jobs.BadState")
        return caught.exception.parameters["reason"]

    def runs(self, *names):
        """How often each job has finished."""
        counts = []
        for name in names:
            path = os.path.join(self.output, name, "runs")
            if os.path.exists(path):
                with open(path) as f:
                    counts.append(len(f.readlines()))
            else:
                counts.append(0)
        return counts

    def again(self):
        self.daemon.start()


class Life(SweepTest):
    def test_from_submit_to_report(self):
        id, jobs = self.sweep("", {"seed": [1, 2, 3]})
        self.assertEqual(self.daemon.wait(id), {id: "done"})
        self.assertEqual(self.states(jobs), ["done"] * 3)
        sweep, job = self.detail(id), self.detail(jobs[1])
        self.assertEqual((sweep["parent"], sweep["values"], sweep["fields"]), (None, None, ["seed"]))
        self.assertEqual([c["id"] for c in sweep["children"]], jobs)
        self.assertEqual((job["parent"], job["values"], job["fields"], job["children"]), (id, {"seed": 2}, None, None))
        self.assertEqual(job["output"], os.path.join(self.output, "seed=2"))
        self.assertEqual(job["name"], "points=3 seed=2")
        self.assertEqual((job["resources"]["scratch"], sweep["resources"]["scratch"]), (1, 4096))
        self.assertEqual(self.runs("seed=1", "seed=2", "seed=3", ""), [1, 1, 1, 1])
        self.assertEqual(len(sweep["attempts"]), 1)  # that of the report
        self.assertGreaterEqual(sweep["attempts"][0]["started"], max(self.detail(j)["ended"] for j in jobs))
        self.assertEqual(self.daemon.jobs("Report", id=id)["path"], os.path.join(self.output, "report.json"))
        self.assertEqual(self.daemon.jobs("Report", id=jobs[0])["path"], os.path.join(self.output, "seed=1", "report.json"))
        log = self.daemon.jobs("Log", id=id)["text"]
        for i, job in enumerate(jobs):
            self.assertIn("job %s (points=3 seed=%d): running" % (job, i + 1), log)
            self.assertIn("job %s (points=3 seed=%d): done" % (job, i + 1), log)
        self.assertIn("worker begins", log)
        self.assertEqual([n for n in os.listdir(self.daemon.path("work")) if "scratch" in n], [])

    def test_lists(self):
        other = self.daemon.submit("plain")
        id, jobs = self.sweep("", {"seed": [1, 2]}, hold=True)
        listed = self.daemon.jobs("List")["jobs"]
        self.assertEqual([j["id"] for j in listed], [other, id])
        self.assertEqual([(j["parent"], j["children"], j["ended"]) for j in listed], [(None, None, None), (None, 2, 0)])
        self.assertEqual([j["id"] for j in self.daemon.jobs("List", children=True)["jobs"]], [other, id] + jobs)
        listed = self.daemon.jobs("List", parent=id)["jobs"]
        self.assertEqual([(j["id"], j["parent"], j["children"]) for j in listed], [(j, id, None) for j in jobs])
        self.assertEqual([j["id"] for j in self.daemon.jobs("List", states=["held"], children=True)["jobs"]], [id] + jobs)
        self.assertEqual(self.daemon.jobs("List", parent=other)["jobs"], [])
        with self.assertRaises(Failed) as caught:
            self.daemon.jobs("List", parent="999")
        self.assertEqual(caught.exception.error, "org.cwpd.Jobs.NoSuchJob")

    def test_follow(self):
        id, jobs = self.sweep("step=0.1", {"seed": [1, 2]}, hold=True)
        with self.daemon.client() as client:
            stream = client.stream("org.cwpd.Jobs.Follow", id=id)
            events = [next(stream)["event"]]
            self.daemon.jobs("Release", id=id)
            events += [reply["event"] for reply in stream]
        self.assertEqual({e["id"] for e in events}, {id})
        states = [e["state"] for e in events if e["kind"] in ("state", "submitted")]
        self.assertEqual((states[0], states[-1]), ("held", "done"))
        self.assertLessEqual(set(states), {"held", "queued", "running", "done"})
        self.assertEqual(states.count("queued"), 1)  # it does not go back between its jobs
        progress = [e["progress"] for e in events if e["kind"] == "progress"]
        seen = [(p["stage"], p["done"], p["total"], p["unit"]) for p in progress if p["stage"] == "jobs"]
        self.assertEqual(sorted(set(seen)), [("jobs", 0, 2, "jobs"), ("jobs", 1, 2, "jobs"), ("jobs", 2, 2, "jobs")])

    def test_states(self):
        for doing, ends, state in ((["x", "y"], ["done", "done"], "done"), (["x", "reject"], ["done", "rejected"], "rejected"),
                (["reject", "fail"], ["rejected", "failed"], "failed"), (["fail", "fail_"], ["failed", "done"], "failed")):
            with self.subTest(doing=doing):
                id, jobs = self.sweep("", {"quantize.options.do": doing})
                self.assertEqual(self.daemon.wait(id)[id], state)
                self.assertEqual(self.states(jobs), ends)
                self.assertTrue(os.path.exists(os.path.join(self.output, "report.json")))
                reason = self.detail(id)["reasons"][0]
                self.assertTrue(reason.startswith("2 of 2 jobs have ended: "), reason)
                self.assertIn("1 %s" % ends[1] if ends[0] != ends[1] else "2 done", reason)

    def test_no_results_no_report(self):
        id, jobs = self.sweep("fail=1", {"seed": [1, 2]})
        self.assertEqual(self.daemon.wait(id)[id], "failed")
        self.assertEqual(self.detail(id)["attempts"], [])
        with self.assertRaises(Failed) as caught:
            self.daemon.jobs("Report", id=id)
        self.assertEqual(caught.exception.error, "org.cwpd.Jobs.NoReport")

    def test_report_too_early(self):
        id, jobs = self.sweep("", {"seed": [1, 2]}, hold=True)
        with self.assertRaises(Failed) as caught:
            self.daemon.jobs("Report", id=id)
        self.assertEqual(caught.exception.parameters["reason"],
            "the report of a sweep is written when its jobs have ended; 0 of 2 jobs have ended: 2 held")

    def test_report_fails(self):
        id, jobs = self.sweep("report-fail=1", {"seed": [1, 2]})
        self.assertEqual(self.daemon.wait(id)[id], "failed")
        self.assertEqual(self.states(jobs), ["done", "done"])
        self.assertEqual(self.detail(id)["error"]["message"], "no report today")
        open(os.path.join(self.output, "mended"), "w").close()
        self.assertEqual(self.daemon.jobs("Retry", id=id), {"state": "running"})
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertEqual(self.runs("seed=1", "seed=2", ""), [1, 1, 1])
        self.assertEqual(len(self.detail(id)["attempts"]), 2)


class Order(SweepTest):
    config = WIDE

    def test_calibrated_first(self):
        id, jobs = self.sweep("steps=1000 step=0.05", {"protect.fraction": [0, .1, .2], "score.plugin": ["fisher", "wanda"]}, CALIBRATED)
        # Nothing is calibrated for 0; of the others one for each scorer goes first.
        for job in jobs[:4]:
            self.daemon.wait_stage(job)
        time.sleep(0.2)
        self.assertEqual(self.states(jobs), ["running"] * 4 + ["queued"] * 2)
        self.assertEqual([self.detail(j)["after"] for j in jobs], [[], [], [], [], ["any:" + jobs[2]], ["any:" + jobs[3]]])
        self.assertEqual(self.daemon.jobs("Explain", id=jobs[4])["reasons"], ["waits for job %s, which is running" % jobs[2]])
        self.assertEqual(self.daemon.jobs("Explain", id=id)["reasons"], ["0 of 6 jobs have ended: 2 queued, 4 running",
            "job %s: waits for job %s, which is running" % (jobs[4], jobs[2])])
        # However it ends, the others go on.
        self.daemon.jobs("Cancel", id=jobs[2])
        self.daemon.wait(jobs[2])
        self.daemon.wait_stage(jobs[4])
        self.assertEqual(self.states(jobs[4:]), ["running", "queued"])
        self.daemon.jobs("Cancel", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")

    def test_reports_take_no_turn(self):
        blocker = self.daemon.submit("steps=1000 step=0.05")  # all threads
        self.daemon.wait_stage(blocker)
        id, jobs = self.sweep("", {"seed": [1]})
        self.assertEqual(self.daemon.jobs("Explain", id=jobs[0])["reasons"], ["needs 8 threads, 8 of 8 are in use"])
        self.daemon.jobs("Cancel", id=blocker)
        self.assertEqual(self.daemon.wait(id)[id], "done")

    def test_after(self):
        first = self.daemon.submit("plain", hold=True)
        id, jobs = self.sweep("", {"seed": [1, 2]}, after=[first])
        last = self.daemon.submit("last", after=[id])
        self.assertEqual([self.detail(j)["after"] for j in jobs], [[first]] * 2)
        time.sleep(0.2)
        self.assertEqual(self.states([id, last] + jobs), ["queued"] * 4)
        self.daemon.jobs("Release", id=first)
        self.assertEqual(self.daemon.wait(last)[last], "done")
        self.assertGreaterEqual(self.detail(last)["started"], self.detail(id)["ended"])
        # What can never begin is held, and so is the sweep.
        failed = self.daemon.submit("fail=1")
        self.daemon.wait(failed)
        id, jobs = self.sweep("", {"seed": [1, 2]}, after=[failed])
        self.daemon.wait_state(id, "held")
        self.assertEqual(self.states(jobs), ["held"] * 2)


class Steering(SweepTest):
    def test_cancel(self):
        id, jobs = self.sweep("resume=1 steps=1000 step=0.02", {"seed": [1, 2, 3]})
        self.daemon.wait_stage(jobs[0])
        self.assertEqual(self.daemon.jobs("Cancel", id=id, reason="enough"), {"state": "running"})
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")
        self.assertEqual(self.states(jobs), ["cancelled"] * 3)
        self.assertIn("enough", self.detail(jobs[2])["reasons"][0])
        self.assertEqual(self.detail(id)["attempts"], [])
        self.assertEqual(self.daemon.jobs("Cancel", id=id), {"state": "cancelled"})
        # All of them again.
        self.daemon.jobs("Retry", id=id)
        self.daemon.wait_stage(jobs[0])
        self.daemon.jobs("Cancel", id=id)
        self.daemon.wait(id)

    def test_cancel_when_some_are_done(self):
        id, jobs = self.sweep("steps=40 step=0.05", {"quantize.options.do": ["a", "ignore-cancel"]})
        self.daemon.wait(jobs[0])
        self.daemon.wait_stage(jobs[1])
        self.daemon.jobs("Cancel", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")
        self.assertEqual(self.states(jobs), ["done", "cancelled"])
        self.assertTrue(os.path.exists(os.path.join(self.output, "report.json")))
        self.assertIn("all of its jobs have ended", self.bad_state("Hold", id=id))

    def test_cancel_one(self):
        id, jobs = self.sweep("", {"seed": [1, 2]}, hold=True)
        self.daemon.jobs("Cancel", id=jobs[0])
        self.daemon.jobs("Release", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")
        self.assertEqual(self.states(jobs), ["cancelled", "done"])
        # Only that one is tried again, by itself or through the sweep; the report is written once more.
        self.daemon.jobs("Retry", id=jobs[0])
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertEqual(self.runs("seed=1", "seed=2", ""), [1, 1, 2])
        self.assertIn("only failed", self.bad_state("Retry", id=id))

    def test_hold_and_release(self):
        id, jobs = self.sweep("resume=1 steps=20 step=0.02", {"seed": [1, 2]})
        self.daemon.wait_stage(jobs[0])
        self.daemon.jobs("Hold", id=id, reason="lunch")
        self.daemon.wait_state(id, "paused")
        self.assertEqual(self.states(jobs), ["paused", "held"])
        self.assertEqual(self.daemon.jobs("Hold", id=id), {"state": "paused"})
        self.daemon.jobs("Release", id=jobs[1])
        self.daemon.wait_state(id, "queued", "running")
        self.daemon.jobs("Release", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertIn("none of its jobs", self.bad_state("Release", id=id))

    def test_retry(self):
        id, jobs = self.sweep("", {"quantize.options.do": ["a", "reject"]})
        self.assertEqual(self.daemon.wait(id)[id], "rejected")
        other = self.daemon.submit("plain", os.path.join(self.output, "do=reject"), hold=True)
        self.assertIn("job %s writes to the same output" % other, self.bad_state("Retry", id=id))
        self.daemon.jobs("Cancel", id=other)
        self.daemon.jobs("Retry", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "rejected")
        self.assertEqual([len(self.detail(j)["attempts"]) for j in jobs], [1, 2])

    def test_remove(self):
        id, jobs = self.sweep("", {"seed": [1, 2]}, hold=True)
        self.assertIn("removed as a whole", self.bad_state("Remove", id=jobs[0]))
        self.bad_state("Remove", id=id)
        self.daemon.jobs("Cancel", id=id)
        with self.daemon.client() as client:
            stream = client.stream("org.cwpd.Jobs.Follow", cursor=0)
            kinds = [next(stream)["event"]["kind"]]
            self.assertEqual(self.daemon.jobs("Remove", id=id), {})
            removed = []
            while len(removed) < 3:
                event = next(stream)["event"]
                removed += [event["id"]] if event["kind"] == "removed" else []
            self.assertEqual((kinds, sorted(removed)), (["submitted"], [id] + jobs))
        for one in [id] + jobs:
            with self.assertRaises(Failed) as caught:
                self.detail(one)
            self.assertEqual(caught.exception.error, "org.cwpd.Jobs.NoSuchJob")
            self.assertFalse(os.path.exists(self.daemon.path("state", "cwp", "logs", one + ".log")))
        self.assertEqual(self.daemon.jobs("List", children=True)["jobs"], [])
        db = sqlite3.connect(self.daemon.path("state", "cwp", "cwpd.db"))
        self.assertEqual(db.execute("SELECT count(*) FROM jobs").fetchone(), (0,))
        self.assertEqual(db.execute("SELECT count(*) FROM attempts").fetchone(), (0,))
        db.close()

    def test_priority(self):
        blocker = self.daemon.submit("steps=1000 step=0.05")
        self.daemon.wait_stage(blocker)
        plain = self.daemon.submit("plain")
        id, jobs = self.sweep("", {"seed": [1, 2]})
        self.assertEqual(self.daemon.jobs("SetPriority", id=id, priority=5), {"priority": 5})
        self.assertEqual([self.detail(j)["priority"] for j in [id] + jobs], [5] * 3)
        self.daemon.jobs("SetPriority", id=id, priority=0)
        self.daemon.call("org.cwpd.Admin.Undrain")
        with self.daemon.client("org.cwpd.Admin") as client:
            client.call("org.cwpd.Jobs.Top", id=id)
        self.daemon.jobs("Cancel", id=blocker)
        self.daemon.wait(id, plain)
        begun = [self.detail(j)["started"] for j in jobs + [plain]]
        self.assertEqual(begun, sorted(begun))


class Submitting(SweepTest):
    config = "limits: {jobs: 1, grace: 1s}\nquotas: {queued: 5}\n"

    def refused(self, name, matrix, more="", **parameters):
        with self.assertRaises(Failed) as caught:
            self.sweep(name, matrix, more, **parameters)
        return caught.exception.error.rsplit(".", 1)[1], caught.exception.parameters

    def test_bad_matrices(self):
        error, where = self.refused("", {"protect.fracton": [1]})
        self.assertEqual((error, where["path"], where["line"], where["nearest"]), ("JobInvalid", "protect.fracton", 5, "fraction"))
        error, where = self.refused("", {"protect.fraction": [.1, 2]}, CALIBRATED)
        self.assertEqual((error, where["path"], where["line"], where["column"]), ("JobInvalid", "protect.fraction", 8, 36))
        error, where = self.refused("plan-refuse=1", {"seed": [1, 2]})
        self.assertEqual((error, where["reason"]), ("JobInvalid", "model: no such folder"))
        self.assertEqual(self.daemon.jobs("List", children=True)["jobs"], [])

    def test_a_plan_of_other_jobs(self):
        with self.assertRaises(Failed) as caught:
            self.daemon.submit("points=3", more="matrix: {seed: [1, 2]}\n")
        self.assertEqual(caught.exception.error, "org.cwpd.Jobs.PlanFailed")
        self.assertIn("3 children, not 2", caught.exception.parameters["reason"])

    def test_quota(self):
        error, why = self.refused("", {"seed": [1, 2, 3, 4, 5, 6]})
        self.assertEqual(error, "QueueFull")
        self.assertIn("the matrix makes 6 jobs; with the 0 of yours that wait that is more than 5", why["reason"])
        self.sweep("", {"seed": [1, 2, 3]}, hold=True)
        error, why = self.refused("", {"seed": [1, 2, 3]})
        self.assertIn("makes 3 jobs; with the 3 of yours", why["reason"])
        self.daemon.submit("plain", hold=True)  # sweeps do not count for themselves

    def test_dry_run(self):
        plan = self.daemon.jobs("Submit", job=self.daemon.job_text("points=3", more="matrix: {seed: [1, 2, 3]}\n"),
            directory=self.daemon.path("work"), key=str(uuid.uuid4()), dry_run=True)
        self.assertNotIn("id", plan)
        self.assertEqual(len(plan["plan"]["plan"]["children"]), 3)
        self.assertEqual(plan["plan"]["resources"]["scratch"], 4096)
        self.assertEqual(self.daemon.jobs("List", children=True)["jobs"], [])

    def test_keys_and_outputs(self):
        key = str(uuid.uuid4())
        text = self.daemon.job_text("points=2", "out-x", "matrix: {seed: [1, 2]}\n")
        parameters = dict(job=text, directory=self.daemon.path("work"), hold=True)
        id = self.daemon.jobs("Submit", key=key, **parameters)["id"]
        self.assertEqual(self.daemon.jobs("Submit", key=key, **parameters), {"id": id})
        with self.assertRaises(Failed) as caught:
            self.daemon.jobs("Submit", key=str(uuid.uuid4()), **parameters)
        self.assertIn("job %s writes there" % id, caught.exception.parameters["reason"])
        with self.assertRaises(Failed) as caught:
            self.daemon.submit("plain", "out-x/seed=2")
        self.assertIn("job %d writes there" % (int(id) + 2), caught.exception.parameters["reason"])
        self.daemon.jobs("Cancel", id=id)
        one = self.daemon.submit("plain", "out-x/seed=2", hold=True)
        with self.assertRaises(Failed) as caught:
            self.daemon.jobs("Submit", key=str(uuid.uuid4()), **parameters)
        self.assertIn("job %s writes there" % one, caught.exception.parameters["reason"])


class Restart(SweepTest):
    def test_kills_in_the_middle(self):
        id, jobs = self.sweep("resume=1 steps=10 step=0.02", {"seed": [1, 2, 3]})
        names = ["seed=%d" % i for i in (1, 2, 3)]
        for i in range(4):
            self.daemon.wait_stage(jobs[i // 2])
            time.sleep(0.07 * (i % 3))
            self.daemon.kill()
            self.again()
            found = [self.detail(id)] + [self.detail(j) for j in jobs]
            self.assertEqual([d["parent"] for d in found], [None] + [id] * 3)
            ended = [d["state"] for d in found[1:]].count("done")
            self.assertIn(found[0]["state"], ("queued", "running") if ended == 0 else ("running", "done"))
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertEqual(self.runs(*names), [1] * 3)
        self.assertEqual(self.states(jobs), ["done"] * 3)
        self.assertEqual([self.detail(j)["values"] for j in jobs], [{"seed": i} for i in (1, 2, 3)])

    def test_kill_while_the_report_is_written(self):
        id, jobs = self.sweep("report-sleep=1", {"seed": [1, 2]})
        self.daemon.wait(*jobs)
        deadline = time.monotonic() + 60
        while not os.path.exists(os.path.join(self.output, "reports")) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.daemon.kill()
        self.again()
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertEqual(self.runs("seed=1", "seed=2", ""), [1, 1, 1])
        self.assertEqual([a["result"] for a in self.detail(id)["attempts"]], ["interrupted", "done"])

    def test_stop_and_start(self):
        id, jobs = self.sweep("resume=1 steps=20 step=0.02", {"seed": [1, 2]})
        self.daemon.wait_stage(jobs[0])
        self.daemon.stop()
        self.again()
        self.assertEqual(self.daemon.wait(id)[id], "done")

    def test_cancel_goes_on_after_a_kill(self):
        id, jobs = self.sweep("ignore-cancel=1 ignore-term=1 steps=1000 step=0.05", {"seed": [1, 2, 3]})
        self.daemon.wait_stage(jobs[0])
        self.daemon.jobs("Cancel", id=id)
        # As if not all of the cancel had come to the disk.
        self.daemon.kill()
        db = sqlite3.connect(self.daemon.path("state", "cwp", "cwpd.db"))
        self.assertEqual(db.execute("SELECT cancelling FROM jobs WHERE id = ?", (id,)).fetchone(), (1,))
        with db:
            db.execute("UPDATE jobs SET state = 'queued' WHERE id = ?", (jobs[2],))
        db.close()
        self.again()
        self.daemon.wait(id)
        self.assertEqual(self.states([id] + jobs), ["cancelled"] * 4)

    def test_an_older_store(self):
        """A store without sweeps is taken over."""
        id = self.daemon.submit("plain")
        self.daemon.wait(id)
        self.daemon.stop()
        db = sqlite3.connect(self.daemon.path("state", "cwp", "cwpd.db"))
        with db:
            db.executescript("DROP INDEX jobs_parent; ALTER TABLE jobs DROP COLUMN parent; ALTER TABLE jobs DROP COLUMN children;"
                "ALTER TABLE jobs DROP COLUMN point; ALTER TABLE attempts DROP COLUMN gpu; PRAGMA user_version = 1")
        db.close()
        self.again()
        self.assertEqual(self.daemon.state(id), "done")
        sweep, jobs = self.sweep("", {"seed": [1]})
        self.assertEqual(self.daemon.wait(sweep)[sweep], "done")


class Retention(SweepTest):
    config = "limits: {jobs: 1, grace: 1s}\nretention: {jobs: 2}\n"

    def test_a_sweep_goes_as_a_whole(self):
        id, jobs = self.sweep("", {"seed": [1, 2, 3, 4]})
        self.daemon.wait(id)
        one = self.daemon.submit("plain")
        self.daemon.wait(one)
        time.sleep(1.5)
        self.assertEqual(len(self.daemon.jobs("List", children=True)["jobs"]), 6)  # two of two: the sweep counts as one
        two = self.daemon.submit("plain")
        self.daemon.wait(two)
        deadline = time.monotonic() + 60
        while len(self.daemon.jobs("List", children=True)["jobs"]) != 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual([j["id"] for j in self.daemon.jobs("List", children=True)["jobs"]], [one, two])


if __name__ == "__main__":
    daemon_test.main()

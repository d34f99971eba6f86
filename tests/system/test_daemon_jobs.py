# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs through a whole daemon, with a fake worker: accepted, run, watched, stopped in each phase, ended in each way."""
import json
import os
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test
from daemon_test import Failed


class Ends(daemon_test.DaemonTest):
    def end(self, name, **parameters):
        id = self.daemon.submit(name, **parameters)
        self.daemon.wait(id)
        return self.daemon.jobs("Describe", id=id)["job"]

    def test_done(self):
        job = self.end("plain")
        self.assertEqual(job["state"], "done")
        self.assertEqual([a["result"] for a in job["attempts"]], ["done"])
        self.assertIsNone(job["error"])
        report = self.daemon.jobs("Report", id=job["id"])
        self.assertEqual(report["report"]["job"]["name"], "fake")
        self.assertEqual(report["path"], job["output"] + "/report.json")

    def test_scratch_goes(self):
        job = self.end("plain")
        folder, name = os.path.split(job["output"])
        scratch = os.path.join(folder, ".%s.scratch-%s" % (name, job["id"]))
        deadline = time.monotonic() + 10
        while os.path.exists(scratch) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(os.path.exists(scratch))

    def test_failed(self):
        job = self.end("fail")
        self.assertEqual(job["state"], "failed")
        self.assertEqual(job["error"]["code"], -1007)
        self.assertEqual(job["error"]["field"], "model")
        self.assertEqual(self.daemon.jobs("Explain", id=job["id"])["reasons"], ["tensor digest differs"])
        self.assertEqual(self.fails("org.cwpd.Jobs.NoReport", "org.cwpd.Jobs.Report", id=job["id"])["id"], job["id"])

    def test_rejected(self):
        job = self.end("reject")
        self.assertEqual(job["state"], "rejected")
        self.assertIn("worse by 3", job["error"]["message"])

    def test_rejected_report(self):
        """It is looked for where the worker put the output, under whatever name it got."""
        job = self.end("reject")
        for name, digest in ((".rejected", "0" * 64), (".rejected-1", job["digest"]), (".rejected-2", "1" * 64)):
            os.makedirs(job["output"] + name)
            with open(os.path.join(job["output"] + name, "manifest.json"), "w", encoding="utf-8") as f:
                json.dump({"job_digest": digest}, f)
            with open(os.path.join(job["output"] + name, "report.json"), "w", encoding="utf-8") as f:
                json.dump({"version": 2, "rejected": True}, f)
        report = self.daemon.jobs("Report", id=job["id"])
        self.assertEqual(report["path"], job["output"] + ".rejected-1/report.json")
        self.assertEqual(report["html"], job["output"] + ".rejected-1/report.html")
        answer = self.daemon.jobs("Gate", id=job["id"], gate="gate: [anything]")
        self.assertEqual(answer["gate"][0]["metric"], job["output"] + ".rejected-1")

    def test_gate_and_compare(self):
        job, other, failed = self.end("plain"), self.end("plain"), self.end("fail")
        self.assertEqual(self.daemon.jobs("Gate", id=job["id"], gate="holds"),
            {"gate": [{"metric": job["output"], "passed": True}], "rejected": False})
        self.assertTrue(self.daemon.jobs("Gate", id=job["id"], gate="fails")["rejected"])
        error = self.fails("org.cwpd.Jobs.NoOutcomes", "org.cwpd.Jobs.Gate", id=job["id"], gate="unknown")
        self.assertEqual(error, {"reason": "gate: no such metric", "nearest": "bias.acc"})
        self.assertIn("cwp-worker", self.fails("org.cwpd.Jobs.Internal", "org.cwpd.Jobs.Gate", id=job["id"], gate="crash")["reason"])
        self.fails("org.cwpd.Jobs.BadState", "org.cwpd.Jobs.Gate", id=failed["id"], gate="holds")
        self.fails("org.cwpd.Jobs.NoSuchJob", "org.cwpd.Jobs.Gate", id="99999", gate="holds")
        answer = self.daemon.jobs("Compare", ids=[job["id"], other["id"]])
        self.assertEqual(answer["comparison"]["outputs"], [job["output"], other["output"]])
        self.fails("org.varlink.service.InvalidParameter", "org.cwpd.Jobs.Compare", ids=[job["id"]])
        self.fails("org.cwpd.Jobs.BadState", "org.cwpd.Jobs.Compare", ids=[job["id"], failed["id"]])

    def test_exit_without_words(self):
        self.assertIn("without saying", self.end("exit=0")["error"]["message"])
        self.assertIn("exit code 9", self.end("exit=9")["error"]["message"])
        self.assertEqual(self.end("exit=2")["state"], "rejected")

    def test_garbage_on_the_status_pipe(self):
        job = self.end("garbage")
        self.assertEqual(job["state"], "failed")
        self.assertIn("not JSON", job["error"]["message"])

    def test_twenty_interruptions(self):
        job = self.end("die=9")
        self.assertEqual(job["state"], "failed")
        self.assertEqual(len(job["attempts"]), 20)
        self.assertEqual({a["result"] for a in job["attempts"]}, {"interrupted"})
        self.assertEqual({a["signal"] for a in job["attempts"]}, {9})
        self.assertIn("20 times", job["error"]["message"])

    def test_no_worker(self):
        id = self.daemon.submit("plain", hold=True)
        os.rename(self.daemon.path("libexec", "cwp-worker"), self.daemon.path("libexec", "away"))
        self.daemon.jobs("Release", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "failed")
        self.assertIn("cwp-worker", self.daemon.jobs("Describe", id=id)["job"]["error"]["message"])
        os.rename(self.daemon.path("libexec", "away"), self.daemon.path("libexec", "cwp-worker"))
        self.daemon.jobs("Retry", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "done")

    def test_failure_that_may_pass(self):
        self.daemon.configure("limits: {jobs: 1, grace: 1s}\nretry: {delay: 2s}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        id = self.daemon.submit("full")
        self.daemon.wait_stage(id)
        self.daemon.wait_state(id, "queued")
        reasons = self.daemon.jobs("Explain", id=id)["reasons"]
        self.assertEqual(reasons[0], "scratch: no space left")
        self.assertIn("before it is tried again", reasons[1])
        self.assertEqual(self.daemon.wait(id)[id], "done")
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.assertEqual([a["result"] for a in job["attempts"]], ["failed", "done"])
        self.assertGreater(job["attempts"][1]["started"] - job["attempts"][0]["ended"], 1.5)

    def test_time_limit(self):
        job = self.end("steps=1 step=60", more="limits: {time: 1s}\n")
        self.assertEqual(job["state"], "failed")
        self.assertEqual(job["error"]["field"], "limits.time")

    def test_retry_and_remove(self):
        id = self.end("fail")["id"]
        self.assertEqual(self.daemon.jobs("Retry", id=id)["state"], "queued")
        self.assertEqual(self.daemon.wait(id)[id], "failed")
        self.assertEqual(len(self.daemon.jobs("Describe", id=id)["job"]["attempts"]), 2)
        self.daemon.jobs("Remove", id=id)
        self.fails("org.cwpd.Jobs.NoSuchJob", "org.cwpd.Jobs.Describe", id=id)

    def test_log_is_escaped_and_capped(self):
        self.daemon.configure("limits: {jobs: 1, grace: 1s}\nquotas: {log: 1MiB}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        id = self.daemon.submit("flood")
        self.daemon.wait(id)
        text, cursor = "", 0
        while True:
            piece = self.daemon.jobs("Log", id=id, cursor=cursor)
            if not piece["text"]:
                break
            self.assertTrue(piece["text"].endswith("\n"))
            text, cursor = text + piece["text"], piece["cursor"]
        self.assertLessEqual(len(text.encode()), 1 << 20)
        self.assertIn("\\x1b[31mline \\xff0 ", text)
        self.assertTrue(text.endswith("the log is full; what follows is left out\n"))
        self.assertLessEqual(max(map(len, text.splitlines())), 4200)


class Stops(daemon_test.DaemonTest):
    def test_cancel_queued(self):
        running = self.daemon.submit("steps=1 step=60")
        id = self.daemon.submit("plain")
        self.assertEqual(self.daemon.jobs("Cancel", id=id, reason="not needed")["state"], "cancelled")
        self.assertIn("not needed", self.daemon.jobs("Explain", id=id)["reasons"][0])
        self.daemon.jobs("Cancel", id=running)
        self.assertEqual(self.daemon.wait(running, id), {running: "cancelled", id: "cancelled"})

    def test_cancel_held(self):
        id = self.daemon.submit("plain", hold=True)
        self.assertEqual(self.daemon.jobs("Cancel", id=id)["state"], "cancelled")

    def test_cancel_cooperative(self):
        id = self.daemon.submit("steps=1 step=60")
        self.daemon.wait_stage(id)
        self.daemon.jobs("Cancel", id=id)
        self.daemon.wait(id)
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.assertEqual((job["state"], job["attempts"][0]["exit_code"]), ("cancelled", 1))

    def test_cancel_by_term(self):
        id = self.daemon.submit("ignore-cancel steps=1 step=60")
        self.daemon.wait_stage(id)
        self.daemon.jobs("Cancel", id=id)
        self.daemon.wait(id)
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.assertEqual((job["state"], job["attempts"][0]["exit_code"]), ("cancelled", 143))

    def test_cancel_by_kill_of_the_whole_group(self):
        id = self.daemon.submit("ignore-cancel ignore-term child steps=1 step=60")
        self.daemon.wait_stage(id)
        pid = self.daemon.worker_pid(id)
        job = self.daemon.jobs("Describe", id=id)["job"]
        folder, name = os.path.split(job["output"])
        child_file = os.path.join(folder, ".%s.scratch-%s" % (name, id), "child")
        deadline = time.monotonic() + 10
        while not os.path.exists(child_file) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        with open(child_file) as f:
            child = int(f.read())
        self.daemon.jobs("Cancel", id=id)
        self.daemon.wait(id)
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.assertEqual((job["state"], job["attempts"][0]["signal"]), ("cancelled", 9))
        self.wait_dead(pid)
        self.wait_dead(child)

    def test_cancel_at_once(self):
        """Between acceptance and the worker's first word."""
        for _ in range(10):
            id = self.daemon.submit("steps=1 step=60")
            self.daemon.jobs("Cancel", id=id)
            self.assertEqual(self.daemon.wait(id)[id], "cancelled")

    def test_cancel_ended(self):
        id = self.daemon.submit("plain")
        self.daemon.wait(id)
        self.assertEqual(self.fails("org.cwpd.Jobs.BadState", "org.cwpd.Jobs.Cancel", id=id)["state"], "done")

    def test_pause_and_release(self):
        id = self.daemon.submit("resume steps=200 step=0.02")
        self.daemon.wait_stage(id)
        self.daemon.jobs("Hold", id=id)
        self.daemon.wait_state(id, "paused")
        self.assertEqual(self.daemon.jobs("Describe", id=id)["job"]["attempts"][0]["result"], "paused")
        self.assertEqual(self.daemon.jobs("Release", id=id)["state"], "queued")
        self.daemon.wait_state(id, "running")
        self.daemon.jobs("Cancel", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")

    def test_hold_and_release(self):
        id = self.daemon.submit("plain", hold=True)
        self.assertEqual(self.daemon.state(id), "held")
        self.fails("org.cwpd.Jobs.BadState", "org.cwpd.Jobs.Retry", id=id)
        self.daemon.jobs("Release", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.fails("org.cwpd.Jobs.BadState", "org.cwpd.Jobs.Release", id=id)

    def test_killed_worker_goes_on(self):
        id = self.daemon.submit("resume steps=40 step=0.02")
        for _ in range(3):
            self.daemon.wait_stage(id)
            attempt = len(self.daemon.jobs("Describe", id=id)["job"]["attempts"])
            try:
                os.kill(self.daemon.worker_pid(id), 9)
            except ProcessLookupError:
                continue
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                job = self.daemon.jobs("Describe", id=id)["job"]
                if len(job["attempts"]) > attempt or job["state"] == "done":
                    break
                time.sleep(0.02)
        self.assertEqual(self.daemon.wait(id)[id], "done")
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.assertEqual(job["attempts"][-1]["result"], "done")
        self.assertEqual({a["result"] for a in job["attempts"][:-1]}, {"interrupted"})
        with open(job["output"] + "/runs") as f:
            self.assertEqual(f.read(), "done\n")


class Order(daemon_test.DaemonTest):
    def started(self, *ids):
        self.daemon.wait(*ids)
        jobs = [self.daemon.jobs("Describe", id=id)["job"] for id in ids]
        return [job["id"] for job in sorted(jobs, key=lambda job: job["started"] or 0)]

    def blocker(self):
        """A job that the others wait for until it is cancelled, however slow submitting is."""
        first = self.daemon.submit("steps=1 step=60")
        self.daemon.wait_stage(first)
        return first

    def test_priority_then_order(self):
        first = self.blocker()
        low = self.daemon.submit("plain", priority=-5)
        a, b = self.daemon.submit("plain"), self.daemon.submit("plain")
        high = self.daemon.submit("plain", priority=7)
        self.daemon.jobs("Cancel", id=first)
        self.assertEqual(self.started(first, low, a, b, high), [first, high, a, b, low])

    def test_top_and_priority(self):
        first = self.blocker()
        a, b, c = (self.daemon.submit("plain") for _ in range(3))
        self.daemon.jobs("Top", id=c)
        self.assertEqual(self.daemon.jobs("SetPriority", id=b, priority=3), {"priority": 3})
        self.fails("org.varlink.service.InvalidParameter", "org.cwpd.Jobs.SetPriority", id=b, priority=101)
        self.daemon.jobs("Cancel", id=first)
        self.assertEqual(self.started(first, a, b, c), [first, b, c, a])

    def test_after(self):
        parent = self.daemon.submit("steps=1 step=0.3", priority=-50)
        child = self.daemon.submit("plain", after=[parent], priority=50)
        self.assertIn("waits for job " + parent, self.daemon.jobs("Explain", id=child)["reasons"][0])
        self.assertEqual(self.started(parent, child), [parent, child])

    def test_after_failure(self):
        parent = self.daemon.submit("fail")
        hopeless = self.daemon.submit("plain", after=["ok:" + parent])
        either = self.daemon.submit("plain", after=["any:" + parent])
        consoling = self.daemon.submit("plain", after=["notok:" + parent])
        self.assertEqual(self.daemon.wait(parent, either, consoling), {parent: "failed", either: "done", consoling: "done"})
        self.daemon.wait_state(hopeless, "held")
        self.assertIn("ended as failed", self.daemon.jobs("Explain", id=hopeless)["reasons"][0])

    def test_after_nobody(self):
        with self.assertRaises(Failed) as caught:
            self.daemon.submit("plain", after=["999"])
        self.assertEqual(caught.exception.error, "org.cwpd.Jobs.NoSuchJob")

    def test_explain_turn(self):
        first = self.daemon.submit("steps=1 step=60")
        self.daemon.wait_stage(first)
        a, b = self.daemon.submit("plain"), self.daemon.submit("plain")
        self.assertEqual(self.daemon.jobs("Explain", id=b)["reasons"], ["1 job is before it in the queue"])
        self.assertEqual(self.daemon.jobs("Explain", id=a)["reasons"], ["1 jobs run already, more are not allowed"])
        self.daemon.jobs("Cancel", id=first)
        self.daemon.wait(first, a, b)

    def test_memory_is_reserved(self):
        self.daemon.configure("limits: {jobs: 5, memory: 100MiB, threads: 8, grace: 1s}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        limits = "limits: {threads: 1}\n"
        a = self.daemon.submit("memory=80000000 steps=1 step=60", more=limits)
        self.daemon.wait_stage(a)
        b = self.daemon.submit("memory=80000000", more=limits)
        self.assertIn("needs 76 MiB of memory", self.daemon.jobs("Explain", id=b)["reasons"][0])
        with self.assertRaises(Failed) as caught:
            self.daemon.submit("memory=200000000", more=limits)
        self.assertEqual(caught.exception.parameters["path"], "limits.memory")
        self.daemon.jobs("Cancel", id=a)
        self.assertEqual(self.daemon.wait(b)[b], "done")


class Watching(daemon_test.DaemonTest):
    def test_follow(self):
        id = self.daemon.submit("steps=30 step=0.05")
        with self.daemon.client() as client:
            events = [reply["event"] for reply in client.stream("org.cwpd.Jobs.Follow", id=id, cursor=0)]
        states = [e["state"] for e in events if e["kind"] == "state"]
        self.assertEqual(states, ["running", "done"])
        progress = [e["progress"] for e in events if e["kind"] == "progress"]
        self.assertGreater(len(progress), 5)
        self.assertEqual({p["stage"] for p in progress}, {"score"})
        self.assertEqual([p["done"] for p in progress], sorted(p["done"] for p in progress))
        rates = [p for p in progress if p["rate"]]
        self.assertTrue(rates)
        self.assertTrue(5 < rates[-1]["rate"] < 25, rates[-1])
        self.assertIsNotNone(rates[-1]["eta"])
        cursors = [e["cursor"] for e in events]
        self.assertEqual(cursors, sorted(cursors))
        # From the last state on: nothing but the end is said again.
        with self.daemon.client() as client:
            again = [reply["event"] for reply in client.stream("org.cwpd.Jobs.Follow", id=id, cursor=cursors[-1])]
        self.assertEqual([e["state"] for e in again], ["done"])

    def test_follow_all(self):
        with self.daemon.client() as client:
            stream = client.stream("org.cwpd.Jobs.Follow")
            client.send("org.cwpd.Jobs.Follow", more=True)
            ids = [self.daemon.submit("plain") for _ in range(3)]
            self.daemon.wait(*ids)
            ended = set()
            while len(ended) < 3:
                event = client.reply()["parameters"]["event"]
                if event["state"] == "done":
                    ended.add(event["id"])
            self.assertEqual(ended, set(ids))
            stream.close()

    def test_more_is_needed(self):
        for method, parameters in (("Follow", {}), ("Wait", {"ids": ["1"]})):
            self.fails("org.varlink.service.ExpectedMore", "org.cwpd.Jobs." + method, **parameters)

    def test_log_follow(self):
        id = self.daemon.submit("steps=10 step=0.05")
        with self.daemon.client() as client:
            pieces = list(client.stream("org.cwpd.Jobs.Log", id=id))
        text = "".join(piece["text"] for piece in pieces)
        self.assertIn("step 0", text)
        self.assertIn("daemon: done", text)
        size = pieces[-1]["cursor"]
        self.assertEqual(len(text.encode()), size)
        middle = text.index("step 5")
        cursor = len(text[:text.rindex("\n", 0, middle) + 1].encode())
        self.assertTrue(self.daemon.jobs("Log", id=id, cursor=cursor)["text"].splitlines()[0].endswith("step 5"))
        self.assertEqual(self.daemon.jobs("Log", id=id, cursor=size), {"text": "", "cursor": size})

    def test_leaving_a_stream_harms_nobody(self):
        id = self.daemon.submit("steps=20 step=0.05")
        for method, parameters in (("Follow", {"id": id}), ("Wait", {"ids": [id]}), ("Log", {"id": id})):
            client = self.daemon.client()
            client.send("org.cwpd.Jobs." + method, parameters, more=True)
            time.sleep(0.1)
            client.close()
        self.assertEqual(self.daemon.wait(id)[id], "done")

    def test_list(self):
        ids = [self.daemon.submit("plain", hold=True) for _ in range(7)]
        page = self.daemon.jobs("List", limit=3)
        self.assertEqual([job["id"] for job in page["jobs"]], ids[:3])
        page = self.daemon.jobs("List", limit=3, cursor=page["cursor"])
        self.assertEqual([job["id"] for job in page["jobs"]], ids[3:6])
        page = self.daemon.jobs("List", limit=3, cursor=page["cursor"])
        self.assertEqual(([job["id"] for job in page["jobs"]], page.get("cursor")), (ids[6:], None))
        self.assertEqual(self.daemon.jobs("List", states=["done"])["jobs"], [])
        with self.daemon.client() as client:
            pages = list(client.stream("org.cwpd.Jobs.List", limit=2))
        self.assertEqual([job["id"] for page in pages for job in page["jobs"]], ids)
        self.fails("org.varlink.service.InvalidParameter", "org.cwpd.Jobs.List", states=["nonsense"])

    def test_stop_ends_streams(self):
        id = self.daemon.submit("steps=1 step=60")
        self.daemon.wait_stage(id)
        ended = []

        def follow():
            with self.daemon.client() as client:
                try:
                    for _ in client.stream("org.cwpd.Jobs.Follow", id=id):
                        pass
                except daemon_test.Gone:
                    ended.append("gone")

        thread = threading.Thread(target=follow)
        thread.start()
        time.sleep(0.2)
        self.assertEqual(self.daemon.stop(), 0)
        thread.join(20)
        self.assertEqual(ended, ["gone"])


class Submitting(daemon_test.DaemonTest):
    def refused(self, error, **parameters):
        given = dict(job=self.daemon.job_text(), directory=self.daemon.path("work"), key=str(uuid.uuid4()))
        given.update(parameters)
        return self.fails(error, "org.cwpd.Jobs.Submit", **given)

    def test_same_key(self):
        key, output = str(uuid.uuid4()), "out-key"
        id = self.daemon.submit("plain", output=output, key=key)
        self.assertEqual(self.daemon.submit("plain", output=output, key=key), id)
        self.daemon.wait(id)
        self.assertEqual(self.daemon.submit("plain", output=output, key=key), id)
        self.assertEqual(len(self.daemon.jobs("List")["jobs"]), 1)
        self.assertEqual(self.refused("org.cwpd.Jobs.KeyReused", key=key)["id"], id)

    def test_same_key_at_the_same_time(self):
        key, ids = str(uuid.uuid4()), []
        threads = [threading.Thread(target=lambda: ids.append(self.daemon.submit("plan-sleep=0.2", output="one", key=key)))
            for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(ids), 8)
        self.assertEqual(len(set(ids)), 1)

    def test_same_output(self):
        id = self.daemon.submit("plain", output="same", hold=True)
        error = self.refused("org.cwpd.Jobs.JobInvalid", job=self.daemon.job_text(output="same"))
        self.assertEqual(error["path"], "output")
        self.assertIn("job " + id, error["reason"])

    def test_dry_run(self):
        reply = self.daemon.jobs("Submit", job=self.daemon.job_text("memory=4096"), directory="/", key=str(uuid.uuid4()),
            dry_run=True)
        self.assertNotIn("id", reply)
        self.assertEqual(reply["plan"]["resources"]["memory"], 4096)
        self.assertEqual(self.daemon.jobs("List")["jobs"], [])

    def test_bad_files(self):
        error = self.refused("org.cwpd.Jobs.JobInvalid", job="model: m\noutput: o\nquantise: {plugin: static}\n")
        self.assertEqual((error["path"], error["line"], error["nearest"]), ("quantise", 3, "quantize"))
        error = self.refused("org.cwpd.Jobs.JobInvalid", job="model: [\n")
        self.assertGreaterEqual(error["line"], 1)
        self.refused("org.cwpd.Jobs.JobInvalid", job="")

    def test_bad_parameters(self):
        for name, value in (("directory", "relative"), ("key", "x"), ("key", "a b c d e f g h"), ("priority", 101)):
            self.assertEqual(self.refused("org.varlink.service.InvalidParameter", **{name: value})["parameter"], name)
        self.assertEqual(self.refused("org.varlink.service.InvalidParameter", owner="me")["parameter"], "owner")
        self.assertEqual(self.refused("org.varlink.service.InvalidParameter", after=[1])["parameter"], "after[0]")

    def test_plan(self):
        error = self.refused("org.cwpd.Jobs.JobInvalid", job=self.daemon.job_text("plan-refuse"))
        self.assertEqual((error["path"], error["line"], error["column"]), ("model", 2, 8))
        self.assertIn("signal 11", self.refused("org.cwpd.Jobs.PlanFailed", job=self.daemon.job_text("plan-crash"))["reason"])
        self.assertIn("not JSON", self.refused("org.cwpd.Jobs.PlanFailed", job=self.daemon.job_text("plan-garbage"))["reason"])
        reason = self.refused("org.cwpd.Jobs.PlanFailed", job=self.daemon.job_text("plan-fail"))["reason"]
        self.assertTrue(reason.endswith("no plan today"), reason)
        self.assertEqual(self.daemon.jobs("List")["jobs"], [])

    def test_drain(self):
        waiting = self.daemon.submit("plain", hold=True)
        self.daemon.call("org.cwpd.Admin.Drain", reason="new disks")
        self.assertEqual(self.refused("org.cwpd.Jobs.Draining")["reason"], "new disks")
        self.daemon.jobs("Release", id=waiting)
        time.sleep(0.2)
        self.assertEqual(self.daemon.state(waiting), "queued")
        self.assertIn("draining", self.daemon.jobs("Explain", id=waiting)["reasons"][0])
        self.daemon.call("org.cwpd.Admin.Undrain")
        self.assertEqual(self.daemon.wait(waiting)[waiting], "done")

    def test_quota(self):
        self.daemon.configure("quotas: {queued: 2}\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        for _ in range(2):
            self.daemon.submit("plain", hold=True)
        self.assertIn("quotas.queued", self.refused("org.cwpd.Jobs.QueueFull")["reason"])

    def test_roots(self):
        self.daemon.configure("roots: {input: [%s], output: [%s]}\n" % (self.daemon.path("work"), self.daemon.path("work")))
        self.daemon.call("org.cwpd.Admin.Reload")
        with open(self.daemon.path("work", "model"), "w"):
            pass
        self.assertEqual(self.daemon.wait(self.daemon.submit("plain")).popitem()[1], "done")
        text = self.daemon.job_text().replace("model: model", "model: /etc/shadow")
        error = self.refused("org.cwpd.Jobs.PathNotAllowed", job=text)
        self.assertEqual((error["path"], error["field"]), ("/etc/shadow", "model"))
        error = self.refused("org.cwpd.Jobs.PathNotAllowed", job=self.daemon.job_text() + "chat: /etc/x.json\n")
        self.assertEqual((error["path"], error["field"]), ("/etc/x.json", "chat"))
        error = self.refused("org.cwpd.Jobs.PathNotAllowed",
            job=self.daemon.job_text().replace("model: model", "model: model\nadapter: [model, /etc]"))
        self.assertEqual((error["path"], error["field"]), ("/etc", "adapter[1]"))
        error = self.refused("org.cwpd.Jobs.PathNotAllowed", job=self.daemon.job_text(output="/etc/out"))
        self.assertEqual(error["field"], "output")
        os.symlink("/etc", self.daemon.path("work", "away"))
        error = self.refused("org.cwpd.Jobs.PathNotAllowed", job=text.replace("/etc/shadow", "away/shadow"))
        self.assertIn("link", error["reason"])
        self.refused("org.cwpd.Jobs.PathNotAllowed", job=self.daemon.job_text(output="away/out"))


if __name__ == "__main__":
    daemon_test.main()

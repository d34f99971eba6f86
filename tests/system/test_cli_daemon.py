#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""cwpctl with the real daemon and a fake worker: what people and scripts do, from submit to rm, across a restart."""
import json
import os
import select
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test  # noqa: E402


class Cli(daemon_test.DaemonTest):
    def setUp(self):
        super().setUp()
        self.folder = self.daemon.path("work")
        os.makedirs(os.path.join(self.folder, "model"), exist_ok=True)

    def start(self, *words):
        environment = dict(os.environ, CWP_SOCKET=self.daemon.path("run", "cwp"), LC_ALL="C", TZ="UTC")
        return subprocess.Popen([os.path.join(daemon_test.BUILD, "cwpctl"), *words], env=environment, cwd=self.folder,
                                text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run_cli(self, *words, status=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, f"cwpctl {' '.join(words)}: {out}{err}")
        return out, err

    def out(self, *words, status=0):
        return self.run_cli(*words, status=status)[0]

    def err(self, *words, status):
        out, err = self.run_cli(*words, status=status)
        self.assertEqual(out, "")
        return err

    def json(self, *words, status=0):
        return json.loads(self.out(*words, "--json", status=status))

    def job(self, name, **more):
        path = os.path.join(self.folder, "job.yaml")
        with open(path, "w") as file:
            file.write(self.daemon.job_text(name, **more))
        return path

    def submit(self, name, *options):
        return self.out("submit", "--quiet", *options, self.job(name)).strip()

    def test_from_submit_to_rm(self):
        id = self.submit("plain")
        self.assertEqual(self.out("wait", id), f"{id}: done\n")
        (job,) = self.json("list")["jobs"]
        for key in ("id", "name", "state", "stage", "progress", "owner", "submitted"):
            self.assertIn(key, job)
        self.assertEqual((job["id"], job["name"], job["state"]), (id, "plain", "done"))
        shown = self.json("show", id)
        for key in ("attempts", "reasons", "resources"):
            self.assertIn(key, shown)
        self.assertIn("done", self.out("show", id))
        self.assertIn("done", self.out("list", "--state", "done"))
        self.assertEqual(self.json("report", id)["report"]["job"]["name"], "fake")
        self.assertIn("report.html", self.out("report", id))
        self.assertIn("worker begins", self.out("log", id))
        self.assertIn("worker begins", self.json("log", id)["text"])
        self.assertIn("state  done", self.events(id))
        self.out("rm", id)
        self.assertEqual(self.json("list"), {"jobs": []})
        self.assertIn(f"no job {id}", self.err("show", id, status=65))

    def test_sweep(self):
        path = self.job("points=3", more="matrix: {seed: [1, 2, 3]}\n")
        self.assertIn("valid; 3 jobs, each at most", self.out("submit", "--dry-run", path))
        self.assertEqual(self.out("submit", path), "1: submitted, a sweep of 3 jobs\n")
        self.assertEqual(self.out("wait", "1"), "1: done\n")
        self.assertEqual([job["id"] for job in self.json("list")["jobs"]], ["1"])
        self.assertIn(" 3/3 ", self.out("list"))
        self.assertEqual([job["id"] for job in self.json("list", "--sweep", "1")["jobs"]], ["2", "3", "4"])
        self.assertEqual(len(self.json("list", "--children")["jobs"]), 4)
        self.assertIn("points=3 seed=2", self.out("show", "1"))
        self.assertIn("seed: 2", self.out("show", "3"))
        self.assertIn("3 of 3 jobs have ended: 3 done", self.out("explain", "1"))
        self.assertIn("job 3 (points=3 seed=2): done", self.out("log", "1"))
        self.assertIn("1: done: in ", self.out("follow", "1"))
        self.assertIn("report.html", self.out("report", "1"))
        self.assertIn("removed as a whole", self.err("rm", "2", status=65))
        self.out("rm", "1")
        self.assertEqual(self.json("list", "--children"), {"jobs": []})

    def events(self, id):
        """The kept events, up to the job's end."""
        process = self.start("events", "--from", "0")
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        text = ""
        for line in process.stdout:
            text += line
            if "state  done" in line:
                break
        process.kill()
        process.wait()
        return text

    def test_follow(self):
        for name, status, end in (("plain", 0, "done"), ("fail", 1, "failed: tensor digest differs"),
                                  ("reject", 2, "rejected: bias.pct_stereotype is worse by 3")):
            with self.subTest(name=name):
                out = self.out("submit", "--follow", self.job(name), status=status)
                self.assertIn(": submitted\n", out)
                self.assertIn(end, out)
                self.assertNotIn("\x1b", out)
                id = out.split(":")[0]
                self.assertEqual(self.json("follow", id, status=status)["state"], end.split(":")[0])
                self.out("wait", id, status=status)

    def test_follow_through_a_restart(self):
        id = self.submit("steps=40 step=0.05 resume")
        process = self.start("follow", id)
        # Its first word, or the daemon may be gone before it has ever been reached.
        self.assertTrue(select.select([process.stdout], [], [], 60)[0])
        self.daemon.wait_stage(id)
        self.daemon.kill()
        self.daemon.start()
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, out + err)
        self.assertIn("the daemon went away", err)
        self.assertIn(f"{id}: done", out)

    def test_steering(self):
        first = self.submit("steps=1000 step=0.05")
        self.daemon.wait_stage(first)
        held = self.submit("plain", "--hold", "--priority", "3")
        after = self.submit("plain", "--after", first)
        self.assertEqual(self.json("show", held)["priority"], 3)
        self.assertEqual(self.json("show", after)["after"], [first])
        self.assertTrue(self.json("explain", after)["reasons"])
        self.assertIn("held", self.out("explain", held))
        self.assertEqual(self.out("release", held), f"{held}: queued\n")
        self.assertEqual(self.out("hold", held, "--reason", "not now"), f"{held}: held\n")
        self.assertEqual(self.json("priority", held, "-7")["priority"], -7)
        self.assertIn("priority", self.out("top", held))
        self.assertIn("is running", self.err("rm", first, status=65))
        self.assertIn("the time is over", self.err("wait", first, "--timeout", "1s", status=75))
        self.out("cancel", first, "--reason", "enough")
        self.assertIn("cancelled", self.out("wait", first, status=1))
        self.assertEqual(self.out("cancel", held), f"{held}: cancelled\n")
        self.assertEqual(self.out("retry", held), f"{held}: queued\n")
        self.out("wait", held)

    def test_bad_jobs(self):
        path = self.job("plain", more="protct: {fraction: 0.05}\n")
        err = self.err("submit", path, status=65)
        self.assertRegex(err, rf"\A{path}:5:1: protct: .*protect")
        self.assertRegex(self.err("submit", self.job("plain", more="seed: x\n"), status=65), rf"\A{path}:5:\d+: seed: ")
        self.assertEqual(self.json("submit", path, status=65)["error"]["parameters"]["path"], "seed")
        err = self.err("submit", self.job("plan-refuse"), status=65)
        self.assertIn(f"{path}:2:8: model: ", err)
        self.err("submit", self.job("plan-fail"), status=75)
        self.assertEqual(self.json("list"), {"jobs": []})

    def test_dry_run(self):
        self.assertIn("memory", self.out("submit", "--dry-run", self.job("memory=734003200")))
        plan = self.json("submit", "--dry-run", self.job("memory=734003200"))["plan"]
        self.assertEqual(plan["resources"]["memory"], 734003200)
        self.assertEqual(self.json("list"), {"jobs": []})

    def test_draining(self):
        self.assertIn("0 running", self.out("drain", "--reason", "new disks"))
        self.assertIn("new disks", self.err("submit", self.job("plain"), status=69))
        self.out("undrain")
        self.out("wait", self.submit("plain"))

    def test_the_daemon_itself(self):
        self.assertIn("cwpd ", self.out("version"))
        self.assertEqual(self.json("plugins"), {"plugins": []})
        self.assertIn("no plugin", self.err("plugins", "show", "fisher", status=65))
        open(self.daemon.path("plugins", "good.so"), "w").close()
        open(self.daemon.path("plugins", "bad.so"), "w").close()
        self.out("reload")
        self.assertIn("ABI 2", self.out("plugins"))
        self.assertEqual(self.json("plugins", "show", "good")["kind"], "scorer")
        self.assertIn("# HELP", self.out("metrics"))
        checks = json.loads(self.start("doctor", "--json").communicate(timeout=60)[0])["checks"]
        self.assertTrue(all(c["result"] in ("good", "warning", "bad") for c in checks))
        self.daemon.configure("quotes: {}\n")
        self.assertRegex(self.err("reload", status=78), r"cwpd.yaml:1:1: quotes: .*quotas")
        self.daemon.configure(None)
        self.out("reload")


if __name__ == "__main__":
    daemon_test.main()

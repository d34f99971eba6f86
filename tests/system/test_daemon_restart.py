# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping and starting again: what a daemon finds, and what it refuses to start with."""
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test
from daemon_test import BUILD, Client, Daemon


class Restart(daemon_test.DaemonTest):
    def again(self):
        self.daemon.start()

    def sql(self, text, *values):
        db = sqlite3.connect(self.daemon.path("state", "cwp", "cwpd.db"))
        with db:
            rows = db.execute(text, values).fetchall()
        db.close()
        return rows

    def test_history_stays(self):
        done, failed = self.daemon.submit("plain"), self.daemon.submit("fail")
        held = self.daemon.submit("plain", hold=True, priority=4, after=["any:" + failed])
        self.daemon.wait(done, failed)
        before = [self.daemon.jobs("Describe", id=id)["job"] for id in (done, failed, held)]
        self.assertEqual(self.daemon.stop(), 0)
        self.again()
        after = [self.daemon.jobs("Describe", id=id)["job"] for id in (done, failed, held)]
        # The fake worker writes no manifest, which the new daemon remarks.
        self.assertEqual(after[0].pop("reasons"), ["the manifest of its output is gone"])
        before[0].pop("reasons")
        self.assertEqual(after, before)
        with self.daemon.client() as client:
            events = [reply["event"] for reply in client.stream("org.cwpd.Jobs.Follow", id=failed, cursor=0)]
        self.assertEqual([e["state"] for e in events], ["queued", "running", "failed"])
        self.assertEqual(int(self.daemon.submit("plain")), int(held) + 1)

    def test_ids_are_never_used_again(self):
        id = self.daemon.submit("plain")
        self.daemon.wait(id)
        self.daemon.jobs("Remove", id=id)
        self.daemon.stop()
        self.again()
        self.assertEqual(int(self.daemon.submit("plain")), int(id) + 1)

    def test_stop_requeues(self):
        id = self.daemon.submit("resume steps=60 step=0.02")
        self.daemon.wait_stage(id)
        pid = self.daemon.worker_pid(id)
        self.assertEqual(self.daemon.stop(), 0)
        self.wait_dead(pid)
        self.again()
        self.assertEqual(self.daemon.wait(id)[id], "done")
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.assertEqual([a["result"] for a in job["attempts"]], ["interrupted", "done"])
        self.assertEqual(job["interruptions"], 0)

    def test_kill_requeues(self):
        id = self.daemon.submit("resume steps=60 step=0.02")
        self.daemon.wait_stage(id)
        pid = self.daemon.worker_pid(id)
        self.daemon.kill()
        self.again()
        self.assertEqual(self.daemon.wait(id)[id], "done")
        self.assertFalse(self.is_alive(pid))

    def test_worker_that_outlives_the_daemon_is_killed(self):
        id = self.daemon.submit("steps=1 step=600")
        self.daemon.wait_stage(id)
        pid = self.daemon.worker_pid(id)
        os.kill(pid, signal.SIGSTOP)  # it cannot notice the end of its standard input
        self.daemon.kill()
        self.assertTrue(self.is_alive(pid))
        self.again()
        self.wait_dead(pid)
        self.assertIn("outlived", self.daemon.read_log())
        self.daemon.wait_stage(id)
        self.daemon.jobs("Cancel", id=id)
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")

    def test_cancel_survives_a_kill(self):
        id = self.daemon.submit("ignore-cancel steps=1 step=600")
        self.daemon.wait_stage(id)
        self.daemon.jobs("Cancel", id=id)
        self.daemon.kill()
        self.again()
        self.assertEqual(self.daemon.wait(id)[id], "cancelled")

    def test_manifest_makes_it_done(self):
        id = self.daemon.submit("steps=1 step=600")
        self.daemon.wait_stage(id)
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.daemon.kill()
        os.makedirs(job["output"])
        with open(job["output"] + "/manifest.json", "w") as f:
            json.dump({"job_digest": job["digest"]}, f)
        self.again()
        self.assertEqual(self.daemon.state(id), "done")

    def test_manifest_of_another_job_does_not(self):
        id = self.daemon.submit("steps=1 step=600")
        self.daemon.wait_stage(id)
        job = self.daemon.jobs("Describe", id=id)["job"]
        self.daemon.kill()
        os.makedirs(job["output"])
        with open(job["output"] + "/manifest.json", "w") as f:
            json.dump({"job_digest": "0" * 64}, f)
        self.again()
        self.daemon.wait_stage(id)
        self.assertEqual(self.daemon.state(id), "running")
        self.daemon.jobs("Cancel", id=id)
        self.daemon.wait(id)

    def test_twenty_kills_of_the_daemon_count(self):
        id = self.daemon.submit("steps=1 step=600")
        self.daemon.wait_stage(id)
        self.daemon.kill()
        self.sql("UPDATE jobs SET interruptions = 19 WHERE id = ?", id)
        self.again()
        self.assertEqual(self.daemon.state(id), "failed")

    def test_removed_parent(self):
        parent = self.daemon.submit("plain", hold=True)
        child = self.daemon.submit("plain", after=[parent])
        self.daemon.stop()
        self.sql("DELETE FROM jobs WHERE id = ?", parent)
        self.again()
        self.daemon.wait_state(child, "held")
        self.assertIn("was removed", self.daemon.jobs("Explain", id=child)["reasons"][0])

    def test_scratch_is_cleaned(self):
        id = self.daemon.submit("plain")
        self.daemon.wait(id)
        self.daemon.stop()
        folder = self.daemon.path("work", "leftover")
        os.makedirs(folder + "/deep")
        self.sql("UPDATE jobs SET scratch = ? WHERE id = ?", folder, id)
        self.again()
        deadline = time.monotonic() + 10
        while os.path.exists(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(os.path.exists(folder))


class Refusals(daemon_test.DaemonTest):
    def refuses(self, code, words, arguments=(), environment=None):
        result = subprocess.run([os.path.join(BUILD, "cwpd")] + list(arguments), stdin=subprocess.DEVNULL,
            env=environment or self.daemon.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        text = result.stdout.decode()
        self.assertEqual(result.returncode, code, text)
        self.assertIn(words, text)
        return text

    def test_second_daemon(self):
        text = self.refuses(75, "another cwpd uses this state folder")
        self.assertEqual(len([line for line in text.splitlines() if "error:" in line]), 1)
        self.assertEqual(self.daemon.wait(self.daemon.submit()).popitem()[1], "done")

    def test_sockets_of_another(self):
        environment = dict(self.daemon.environment(), XDG_STATE_HOME=self.daemon.path("state2"))
        self.refuses(75, "another daemon answers there", environment=environment)
        self.assertEqual(self.daemon.wait(self.daemon.submit()).popitem()[1], "done")

    def test_stale_socket(self):
        self.daemon.kill()
        self.assertTrue(os.path.exists(self.daemon.socket()))
        self.daemon.start()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertFalse(os.path.exists(self.daemon.socket()))

    def test_long_path(self):
        environment = dict(self.daemon.environment(), XDG_RUNTIME_DIR=self.daemon.path("r" * 90),
            XDG_STATE_HOME=self.daemon.path("state2"))
        self.refuses(78, "a socket's path may have 107 bytes", environment=environment)

    def test_options(self):
        self.refuses(64, "Usage", ["--nonsense"])
        self.refuses(64, "unexpected argument", ["surplus"])
        self.refuses(0, "cwpd ", ["--version"])
        self.refuses(0, "Usage", ["--help"])

    def test_configuration(self):
        path = self.daemon.path("config", "cwp", "cwpd.yaml")
        self.refuses(0, "fine", ["--check-config"])
        self.refuses(0, "fine", ["--check-config", "--config", path])
        self.daemon.configure("limits: {jobs: 1}\nqotas: {}\n")
        self.refuses(78, path + ":2:1", ["--check-config"])
        self.refuses(78, "quotas", ["--check-config"])
        self.daemon.configure("queues: [{name: far, executor: slurm}]\n")
        self.refuses(78, "use local", ["--check-config"])
        self.daemon.configure("notify: [{command: [/bin/true]}]\n")
        self.refuses(78, "notify", ["--check-config"])
        self.refuses(78, "nowhere.yaml", ["--config", "/nowhere.yaml"])

    def test_damaged_store(self):
        self.daemon.submit("plain", hold=True)
        self.daemon.stop()
        path = self.daemon.path("state", "cwp", "cwpd.db")
        with open(path, "rb") as f:
            good = f.read()
        for damaged in (b"not a data base" * 100, good[:100] + b"\xff" * (len(good) - 100)):
            with open(path, "wb") as f:
                f.write(damaged)
            self.refuses(78, "cwpd.db")
            with open(path, "rb") as f:
                self.assertEqual(f.read(), damaged)
        with open(path, "wb") as f:
            f.write(good)
        db = sqlite3.connect(path)
        with db:
            db.execute("PRAGMA user_version = 99")
        self.refuses(78, "newer cwpd")
        with db:
            db.execute("PRAGMA application_id = 1")
        db.close()
        self.refuses(78, "not of cwpd")
        with open(path, "wb") as f:
            f.write(good)
        self.daemon.start()
        self.assertEqual(len(self.daemon.jobs("List")["jobs"]), 1)


class Systemd(daemon_test.DaemonTest):
    """Notification and socket activation, played by the test."""

    def setUp(self):
        self.daemon = Daemon()

    def start_activated(self, names):
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.daemon.path("notify"))
        self.notify.settimeout(60)
        sockets = []
        for name in names:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.daemon.path("run", name))
            listener.listen(5)
            sockets.append(listener)
        environment = dict(self.daemon.environment(), NOTIFY_SOCKET=self.daemon.path("notify"),
            LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names), STATE_DIRECTORY=self.daemon.path("state", "s"),
            RUNTIME_DIRECTORY=self.daemon.path("run"))

        def place():
            spare = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
            for i, fd in enumerate(spare):
                os.dup2(fd, 3 + i)

        log = open(self.daemon.path("log"), "ab")
        self.daemon.process = subprocess.Popen(["/bin/sh", "-c", "LISTEN_PID=$$ exec " + os.path.join(BUILD, "cwpd")],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=place, close_fds=False)
        log.close()
        for listener in sockets:
            listener.close()

    def hear(self, words):
        while True:
            message = self.notify.recv(4096).decode()
            if words in message:
                return message

    def tearDown(self):
        super().tearDown()
        self.notify.close()

    def test_activated(self):
        self.start_activated(["org.cwpd.Admin", "org.cwpd.Jobs"])
        # The socket is there before the daemon: a call waits, and is answered.
        with Client(self.daemon.path("run", "org.cwpd.Jobs")) as client:
            self.assertEqual(client.call("org.cwpd.Jobs.List"), {"jobs": []})
        self.hear("READY=1")
        self.assertIn("running 0, queued 0", self.hear("STATUS="))
        with Client(self.daemon.path("run", "org.cwpd.Admin")) as client:
            client.call("org.cwpd.Admin.Drain")
        self.daemon.process.send_signal(signal.SIGTERM)
        self.hear("STOPPING=1")
        self.assertEqual(self.daemon.process.wait(60), 0)
        self.daemon.process = None
        self.assertTrue(os.path.exists(self.daemon.path("run", "org.cwpd.Jobs")), "the socket is not ours to remove")

    def test_unknown_name(self):
        self.start_activated(["org.cwpd.Nonsense"])
        self.assertIn("ERRNO=", self.hear("ERRNO"))
        self.assertEqual(self.daemon.process.wait(60), 78)
        self.daemon.process = None


class Full(daemon_test.DaemonTest):
    """The state folder on a small memory file system, when the test may mount one."""

    def setUp(self):
        self.daemon = Daemon()
        os.makedirs(self.daemon.path("state", "cwp"))
        self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.daemon.path("state", "cwp")],
            stderr=subprocess.DEVNULL).returncode == 0
        if not self.mounted:
            self.daemon.remove()
            self.skipTest("may not mount")
        self.daemon.start()

    def tearDown(self):
        if self.daemon.process is not None:
            self.daemon.stop()
        subprocess.run(["umount", self.daemon.path("state", "cwp")], check=True)
        self.daemon.remove()

    def test_it_refuses_and_recovers(self):
        first = self.daemon.submit("steps=1 step=1")
        self.daemon.wait_stage(first)
        filler = self.daemon.path("state", "cwp", "filler")
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 1024)
            except OSError:
                pass
        refused = 0
        for _ in range(20):
            try:
                self.daemon.submit("plain", hold=True, more="# %s\n" % ("x" * 100000))
            except daemon_test.Failed as failure:
                self.assertEqual(failure.error, "org.cwpd.Jobs.QueueFull")
                refused += 1
        self.assertGreater(refused, 0)
        time.sleep(1.5)
        self.assertEqual(self.daemon.jobs("List")["jobs"][0]["id"], first)
        os.remove(filler)
        self.assertEqual(self.daemon.wait(first)[first], "done")
        id = self.daemon.submit("plain")
        self.assertEqual(self.daemon.wait(id)[id], "done")


if __name__ == "__main__":
    daemon_test.main()

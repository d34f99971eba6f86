# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Shares of the processors: real workers of a daemon, which wait for their job, and one without a daemon."""
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test

WORKER = os.path.join(daemon_test.BUILD, "cwp-worker")
ALL = sorted(os.sched_getaffinity(0))

# What plans is the fake worker; what runs is the real one, whose job never comes: its standard input is a pipe without an end.
WAITING = """#!/bin/sh
[ "$1" = attempt ] || exec "$0-fake" "$@"
exec "%s" "$@" 0<>"$0-pipe"
"""


def parse(text):
    found = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def allowed(pid):
    """The processors of a process's first thread, as the kernel says."""
    with open("/proc/%d/status" % pid) as f:
        return parse(re.search(r"^Cpus_allowed_list:\s*(\S+)$", f.read(), re.M).group(1))


def wait_allowed(pid, wanted):
    deadline = time.monotonic() + 30
    while allowed(pid) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return allowed(pid)


@unittest.skipIf(len(ALL) < 2, "there is one processor only")
class Shares(daemon_test.DaemonTest):
    config = "limits: {jobs: 8, threads: 2, grace: 1s}\n"

    def setUp(self):
        self.pid = {}
        self.daemon = daemon_test.Daemon(self.config)
        path = self.daemon.path("libexec", "cwp-worker")
        os.rename(path, path + "-fake")
        os.mkfifo(path + "-pipe")
        daemon_test.make_executable(path, WAITING.replace("%s", WORKER))
        self.daemon.start()

    def submit(self, threads, **more):
        id = self.daemon.submit(more="limits: {threads: %d}\n" % threads, **more)
        self.daemon.wait_state(id, "running")
        return id

    def share(self, id, attempt=1):
        """What the daemon says, once the worker has it."""
        deadline = time.monotonic() + 30
        words = r"job %s: attempt %d started, process (\d+)(?:, processors (\S+))?\n" % (id, attempt)
        while not (found := re.search(words, self.daemon.read_log())) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.pid[id] = int(found.group(1))
        told = self.daemon.jobs("Describe", id=id)["job"]["attempts"][-1]["cpus"]
        self.assertEqual(told, found.group(2))
        if told is not None:
            self.assertEqual(wait_allowed(self.pid[id], parse(told)), parse(told))
        else:
            self.assertEqual(allowed(self.pid[id]), set(ALL))
        return told

    def end(self, *ids):
        for id in ids:
            self.daemon.jobs("Cancel", id=id)
            os.kill(self.pid[id], signal.SIGTERM)  # it does not hear the daemon
        self.daemon.wait(*ids)

    def test_two(self):
        """Jobs of one thread have a processor each; one of two threads has both."""
        two = [self.submit(1), self.submit(1)]
        shares = [parse(self.share(id)) for id in two]
        self.assertEqual([len(share) for share in shares], [1, 1])
        self.assertFalse(shares[0] & shares[1])
        shown = subprocess.run([os.path.join(daemon_test.BUILD, "cwpctl"), "show", two[0]], env=self.daemon.environment(),
            capture_output=True, text=True, check=True).stdout
        self.assertIn(", processors %d" % min(shares[0]), shown)
        # What one had is free again.
        self.end(two[0])
        self.assertIsNone(self.daemon.jobs("Describe", id=two[0])["job"]["attempts"][-1]["cpus"])
        third = self.submit(1)
        self.assertEqual(parse(self.share(third)), shares[0])
        self.end(two[1], third)
        both = self.submit(2)
        self.assertEqual(parse(self.share(both)), shares[0] | shares[1])
        self.end(both)
        whole = self.submit(0)  # all
        self.assertEqual(parse(self.share(whole)), shares[0] | shares[1])
        self.end(whole)

    def test_restart(self):
        """After a crash the next daemon ends the attempts that still run: their processors are given again."""
        two = [self.submit(1), self.submit(1)]
        before = {self.share(id) for id in two}
        self.daemon.kill()
        self.daemon.start()
        for id in two:
            self.daemon.wait_state(id, "running")
        self.assertEqual({self.share(id, 2) for id in two}, before)
        self.end(*two)

    def test_more_threads_than_processors(self):
        """Then processors are not divided."""
        self.daemon.configure(self.config.replace("threads: 2", "threads: %d" % (len(ALL) + 1)))
        self.daemon.call("org.cwpd.Admin.Reload")
        id = self.submit(1)
        self.assertIsNone(self.share(id))
        # And divided again by the next that starts.
        self.daemon.configure(self.config)
        self.daemon.call("org.cwpd.Admin.Reload")
        other = self.submit(1)
        self.assertEqual(len(parse(self.share(other))), 1)
        self.end(id, other)


class Worker(unittest.TestCase):
    def attempt(self, cpus, **more):
        return subprocess.Popen([WORKER, "attempt", "--job-fd", "0", "--status-fd", "2", "--scratch", "/nonexistent",
            "--directory", "/", "--cpus", cpus], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def test_malformed(self):
        for text in ("", "a", "1-0", "0,", "1024", "0-99999999999", "0 "):
            done = subprocess.run([WORKER, "run", "none.yaml", "--cpus", text], capture_output=True, text=True)
            self.assertEqual(done.returncode, 64)
            lines = [line for line in done.stderr.splitlines() if line.startswith("cwp-worker:")]
            self.assertEqual(len(lines), 1, done.stderr)
            self.assertEqual(lines[0], "cwp-worker: --cpus: \"%s\" is no list of processors: write numbers up to 1023 and "
                "ascending ranges, such as 0-7,16-23" % text)

    def test_taken(self):
        process = self.attempt(str(ALL[-1]))
        self.assertEqual(wait_allowed(process.pid, {ALL[-1]}), {ALL[-1]})
        process.communicate(b"")
        self.assertEqual(process.returncode, 1)

    def test_not_given(self):
        """A processor that is not there, alone and beside one that is: a warning, and all that it had before."""
        missing = next(i for i in range(1023, 0, -1) if i not in ALL and not os.path.exists("/sys/devices/system/cpu/cpu%d" % i))
        for cpus in (str(missing), "%d,%d" % (ALL[0], missing)):
            process = self.attempt(cpus)
            line = process.stderr.readline().decode()
            self.assertEqual(line, "cwp-worker: warning: the system does not give this process the processors %s: threads run "
                "where it lets them\n" % cpus)
            self.assertEqual(allowed(process.pid), set(ALL))
            self.assertNotIn(b"warning", process.communicate(b"")[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)

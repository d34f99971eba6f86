# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""GPUs through a whole daemon, with a fake worker and a fake probe: found, given, recorded, explained."""
import json
import os
import sys
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test


class Gpus(daemon_test.DaemonTest):
    config = "limits: {jobs: 4, threads: 4, grace: 1s}\nretry: {delay: 0s, longest-delay: 0s}\n"

    def setUp(self):
        """Without the start: the devices come first."""
        self.daemon = daemon_test.Daemon(self.config)

    def begin(self, config="", devices=(("GPU-a", 1000), ("GPU-b", 2000)), reason=None):
        self.daemon.configure(self.config + config)
        with open(self.daemon.path("plugins", "cuda.so"), "w") as f:
            json.dump({"devices": [{"uuid": u, "name": "a GPU", "memory": m} for u, m in devices], "reason": reason}, f)
        self.daemon.start()

    def submit(self, name, more="threads: 1", **parameters):
        return self.daemon.submit(name, more="limits: {%s}\n" % more, **parameters)

    def describe(self, id):
        return self.daemon.jobs("Describe", id=id)["job"]

    def given(self, id):
        with open(self.describe(id)["output"] + ".gpus") as f:
            return f.read().split()

    def reasons(self, id):
        return " ".join(self.daemon.jobs("Explain", id=id)["reasons"])

    def test_given(self):
        """Each job has a GPU of its own; a third waits, one without a GPU does not."""
        self.begin()
        long = [self.submit("gpu=500 steps=1000 step=0.05") for _ in range(2)]
        for id in long:
            self.daemon.wait_state(id, "running")
        third = self.submit("gpu=500")
        cpu = self.submit("plain")
        self.assertEqual(self.daemon.wait(cpu), {cpu: "done"})
        self.assertEqual(self.daemon.state(third), "queued")
        self.assertIn("2 of 2 are in use", self.reasons(third))
        self.assertEqual([self.describe(id)["attempts"][0]["gpu"] for id in long], ["GPU-b", "GPU-a"])
        self.assertIsNone(self.describe(cpu)["attempts"][0]["gpu"])
        self.daemon.jobs("Cancel", id=long[0])
        self.daemon.wait(third)
        self.assertEqual(self.given(third), ["GPU-b"])
        self.daemon.jobs("Cancel", id=long[1])
        self.daemon.wait(long[1])
        # It is on disk.
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.describe(third)["attempts"][0]["gpu"], "GPU-b")

    def test_lost(self):
        """After a failure that may pass, the next attempt is made on another one."""
        self.begin()
        id = self.submit("gpu=500 lost")
        self.daemon.wait(id)
        job = self.describe(id)
        self.assertEqual([a["result"] for a in job["attempts"]], ["failed", "done"])
        self.assertEqual(self.given(id), ["GPU-b", "GPU-a"])

    def test_named(self):
        self.begin()
        text = self.daemon.job_text("gpu=5") + "backend: cuda:GPU-a\n"
        id = self.daemon.jobs("Submit", job=text, directory=self.daemon.path("work"), key=str(uuid.uuid4()))["id"]
        self.daemon.wait(id)
        self.assertEqual(self.given(id), ["GPU-a"])
        parameters = self.fails("org.cwpd.Jobs.JobInvalid", "org.cwpd.Jobs.Submit", job=text.replace("GPU-a", "GPU-x"),
            directory=self.daemon.path("work"), key=str(uuid.uuid4()))
        self.assertIn("gives no job GPU GPU-x", json.dumps(parameters))

    def test_allowed(self):
        self.begin("gpus: [GPU-a, GPU-gone]\n")
        self.assertIn("GPU-gone is not there", self.daemon.read_log())
        ids = [self.submit("gpu=5") for _ in range(3)]
        self.daemon.wait(*ids)
        self.assertEqual({self.given(id)[0] for id in ids}, {"GPU-a"})

    def test_none(self):
        self.begin("gpus: none\n")
        id = self.submit("gpu=5")
        self.daemon.wait(id)
        self.assertEqual(self.given(id), ["none"])

    def test_shared(self):
        self.begin("gpus: [GPU-b]\n")
        self.daemon.configure(self.config.replace("limits: {", "limits: {gpu-jobs: 2, ") + "gpus: [GPU-b]\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        two = [self.submit("gpu=900 steps=1000 step=0.05") for _ in range(2)]
        for id in two:
            self.daemon.wait_state(id, "running")
        third = self.submit("gpu=900")
        self.assertIn("needs a GPU", self.reasons(third))
        for id in two:
            self.daemon.jobs("Cancel", id=id)
        self.daemon.wait(third)

    def test_several(self):
        """A job gets its GPUs at once; until then those that come free are kept for it."""
        self.begin(devices=(("GPU-a", 1000), ("GPU-b", 2000), ("GPU-c", 1500)))
        endless = "gpu=500 steps=1000 step=0.05"
        pair = self.submit(endless, more="threads: 1, gpus: 2")
        one = self.submit(endless)
        for id in (pair, one):
            self.daemon.wait_state(id, "running")
        self.assertEqual([self.describe(id)["attempts"][0]["gpus"] for id in (pair, one)], [["GPU-b", "GPU-c"], ["GPU-a"]])
        self.assertEqual(self.describe(pair)["attempts"][0]["gpu"], "GPU-b")
        self.assertEqual([self.describe(pair)["resources"][key] for key in ("gpus", "gpu_memory")], [2, 500])
        waiting, late = self.submit("gpu=500", more="threads: 1, gpus: 2"), self.submit("gpu=500")
        self.assertIn("needs 2 GPUs at once with 0 MiB of memory each, 3 of 3 are in use", self.reasons(waiting))
        self.daemon.jobs("Cancel", id=one)
        self.daemon.wait(one)
        cpu = self.submit("plain")
        self.daemon.wait(cpu)
        self.assertEqual([self.daemon.state(id) for id in (waiting, late)], ["queued", "queued"])
        # What is held is on disk, and given again.
        self.daemon.stop()
        self.daemon.start()
        self.daemon.wait_state(pair, "running")
        self.assertEqual([a["gpus"] for a in self.describe(pair)["attempts"]], [["GPU-b", "GPU-c"]] * 2)
        self.assertEqual([self.daemon.state(id) for id in (waiting, late)], ["queued", "queued"])
        self.daemon.jobs("Cancel", id=pair)
        self.daemon.wait(waiting, late)
        self.assertEqual([self.given(id) for id in (pair, waiting)], [["GPU-b,GPU-c"] * 2, ["GPU-b,GPU-c"]])

    def test_too_many(self):
        """More than the daemon may give are refused at submit; what came to be too many waits, and holds nobody up."""
        self.begin()
        text = self.daemon.job_text("gpu=5", more="limits: {gpus: %d}\n")

        def refused(gpus):
            parameters = self.fails("org.cwpd.Jobs.JobInvalid", "org.cwpd.Jobs.Submit", job=text % gpus,
                directory=self.daemon.path("work"), key=str(uuid.uuid4()))
            self.assertEqual([parameters["path"], parameters["line"]], ["limits.gpus", 5])
            return parameters["reason"]

        self.assertIn("3 GPUs are asked for, but the daemon gives its jobs 2", refused(3))
        held = self.submit("gpu=5", more="threads: 1, gpus: 2", hold=True)
        self.daemon.configure(self.config + "gpus: [GPU-b]\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        self.assertIn("gives its jobs 1", refused(2))
        self.daemon.jobs("Release", id=held)
        self.assertIn("needs 2 GPUs, of which this daemon has 1", self.reasons(held))
        self.daemon.wait(self.submit("gpu=5"))
        self.daemon.configure(self.config + "gpus: none\n")
        self.daemon.call("org.cwpd.Admin.Reload")
        self.assertIn("gives its jobs 0", refused(2))

    def test_no_driver(self):
        self.begin(devices=(), reason="plugin 'cuda': devices: no NVIDIA driver")
        self.assertIn("no GPU: plugin 'cuda': devices: no NVIDIA driver", self.daemon.read_log())
        id = self.submit("gpu=5")
        self.daemon.wait(id)
        self.assertEqual(self.given(id), ["unsaid"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

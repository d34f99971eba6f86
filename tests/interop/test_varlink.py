# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The Python varlink client, which nobody here wrote, talks to the daemon: it parses our interface text, and makes its
calls from it. Needs the module (scripts/packages --python; interpreter in $CWP_PYTHON)."""
import os
import sys
import uuid

try:
    import varlink
except ImportError:
    print("skipped: this Python has no module varlink; set CWP_PYTHON to one that has it")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import daemon_test


class Varlink(daemon_test.DaemonTest):
    def connect(self, name):
        client = varlink.Client.new_with_address("unix:" + self.daemon.socket(name))
        self.addCleanup(client.cleanup)
        return client

    def test_introspection(self):
        client = self.connect("org.cwpd.Admin")
        info = client.get_interfaces()
        self.assertIn("org.cwpd.Jobs", info)
        with client.open("org.varlink.service") as service:
            self.assertEqual(service.GetInfo()["product"], "cwpd")
            for name in ("org.cwpd.Jobs", "org.cwpd.Admin", "org.cwpd.Metrics"):
                text = service.GetInterfaceDescription(name)["description"]
                self.assertIn("interface " + name, text)
                self.assertEqual(client.get_interface(name).name, name)

    def test_jobs(self):
        client = self.connect("org.cwpd.Jobs")
        with client.open("org.cwpd.Jobs", namespaced=True) as jobs:
            reply = jobs.Submit(self.daemon.job_text("steps=5 step=0.05"), self.daemon.path("work"), str(uuid.uuid4()))
            id = reply.id
            self.assertEqual(jobs.List().jobs[0].id, id)
            events = [reply.event for reply in jobs.Follow(id, 0, _more=True)]
            self.assertEqual(events[-1].state, "done")
            self.assertEqual(jobs.Describe(id).job.state, "done")
            with self.assertRaises(varlink.VarlinkError) as caught:
                jobs.Describe("999")
            self.assertEqual(caught.exception.error(), "org.cwpd.Jobs.NoSuchJob")
            self.assertEqual(caught.exception.parameters()["id"], "999")

    def test_admin(self):
        with self.connect("org.cwpd.Admin").open("org.cwpd.Admin") as admin:
            self.assertEqual(admin.Plugins()["plugins"], [])
            self.assertTrue(admin.Doctor()["checks"])


if __name__ == "__main__":
    daemon_test.main()

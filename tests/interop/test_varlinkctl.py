# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""varlinkctl of systemd 256 and later, with its own parser of interface texts, talks to the daemon."""
import json
import os
import shutil
import subprocess
import sys
import uuid

if shutil.which("varlinkctl") is None:
    print("skipped: no varlinkctl here (systemd 256 or later)")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import daemon_test

INTERFACES = ("org.cwpd.Jobs", "org.cwpd.Admin", "org.cwpd.Metrics")


class Varlinkctl(daemon_test.DaemonTest):
    def run_tool(self, *arguments, status=0):
        made = subprocess.run(["varlinkctl", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        if status == 0:
            self.assertEqual(made.returncode, 0, made.stderr)
        else:
            self.assertNotEqual(made.returncode, 0, made.stdout)
        return made.stdout if status == 0 else made.stdout + made.stderr

    def call(self, method, parameters=None, interface="org.cwpd.Jobs", flags=()):
        text = self.run_tool("call", "--json=short", *flags, self.daemon.socket(interface), method, json.dumps(parameters or {}))
        return [json.loads(line.lstrip("\x1e")) for line in text.splitlines() if line.strip("\x1e ")]

    def test_info(self):
        for interface in INTERFACES:
            text = self.run_tool("info", self.daemon.socket(interface))
            self.assertIn("cwpd", text)
            self.assertIn(interface, text)
            listed = self.run_tool("list-interfaces", self.daemon.socket(interface)).split()
            self.assertLessEqual({interface, "org.varlink.service"}, set(listed))

    def test_introspection(self):
        for interface in INTERFACES:
            # Parses what GetInterfaceDescription answers, and prints it in its own format.
            text = self.run_tool("introspect", self.daemon.socket(interface), interface)
            self.assertIn("interface " + interface, text)
            answer = self.call("org.varlink.service.GetInterfaceDescription", {"interface": interface}, interface)
            path = self.daemon.path("work", interface + ".varlink")
            with open(path, "w", encoding="utf-8") as f:
                f.write(answer[0]["description"])
            self.run_tool("validate-idl", path)

    def test_get_info(self):
        self.assertEqual(self.call("org.varlink.service.GetInfo")[0]["product"], "cwpd")

    def test_jobs(self):
        id = self.call("org.cwpd.Jobs.Submit", {"job": self.daemon.job_text("steps=5 step=0.05"),
            "directory": self.daemon.path("work"), "key": str(uuid.uuid4())})[0]["id"]
        self.assertEqual([job["id"] for job in self.call("org.cwpd.Jobs.List")[0]["jobs"]], [id])
        events = self.call("org.cwpd.Jobs.Follow", {"id": id, "cursor": 0}, flags=["--more"])
        self.assertEqual(events[-1]["event"]["state"], "done")

    def test_errors(self):
        text = self.run_tool("call", self.daemon.socket(), "org.cwpd.Jobs.Describe", '{"id": "999"}', status=1)
        self.assertIn("org.cwpd.Jobs.NoSuchJob", text)
        text = self.run_tool("call", self.daemon.socket(), "org.cwpd.Jobs.Nothing", "{}", status=1)
        self.assertIn("org.varlink.service.MethodNotFound", text)


if __name__ == "__main__":
    daemon_test.main()

# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The control protocol of a whole daemon: introspection, garbage, half messages, many connections, slow readers."""
import json
import os
import random
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon_test
from daemon_test import BUILD, SOURCE, Client, Failed, Gone

BAD = "org.cwpd.Jobs.BadMessage"


class Introspection(daemon_test.DaemonTest):
    def test_info_and_descriptions(self):
        expected = {"org.cwpd.Jobs": ["org.varlink.service", "org.cwpd.Jobs"],
            "org.cwpd.Admin": ["org.varlink.service", "org.cwpd.Jobs", "org.cwpd.Admin", "org.cwpd.Metrics"],
            "org.cwpd.Metrics": ["org.varlink.service", "org.cwpd.Metrics"]}
        for name, interfaces in expected.items():
            with self.daemon.client(name) as client:
                info = client.call("org.varlink.service.GetInfo")
                self.assertEqual(info["interfaces"], interfaces)
                self.assertEqual(info["product"], "cwpd")
                for interface in interfaces:
                    text = client.call("org.varlink.service.GetInterfaceDescription", interface=interface)["description"]
                    with open(os.path.join(SOURCE, "daemon/ctl/idl", interface + ".varlink")) as f:
                        self.assertEqual(text, f.read())

    def test_levels(self):
        with self.daemon.client("org.cwpd.Metrics") as client:
            with self.assertRaises(Failed) as caught:
                client.call("org.cwpd.Jobs.List")
            self.assertEqual(caught.exception.error, "org.varlink.service.PermissionDenied")
            self.assertIn("cwpd_jobs", client.call("org.cwpd.Metrics.Get")["text"])
        with self.daemon.client() as client:
            with self.assertRaises(Failed) as caught:
                client.call("org.cwpd.Admin.Drain")
            self.assertEqual(caught.exception.error, "org.varlink.service.PermissionDenied")

    def test_unknown(self):
        for method, error in (("org.example.Nothing.Do", "InterfaceNotFound"), ("org.cwpd.Jobs.Nothing", "MethodNotFound"),
                ("Nothing", "InterfaceNotFound"), ("", "InterfaceNotFound"), ("org.cwpd.Jobs.", "MethodNotFound")):
            with self.daemon.client() as client:
                with self.assertRaises(Failed) as caught:
                    client.call(method)
                self.assertEqual(caught.exception.error, "org.varlink.service." + error, method)

    def test_admin(self):
        for name in ("crash.so", "bad.so", "good.so", "note.txt"):
            with open(self.daemon.path("plugins", name), "w"):
                pass
        self.assertEqual(self.daemon.call("org.cwpd.Admin.Reload"), {"plugins": 1})
        plugins = {os.path.basename(p["file"]): p for p in self.daemon.call("org.cwpd.Admin.Plugins")["plugins"]}
        self.assertEqual(sorted(plugins), ["bad.so", "crash.so", "good.so"])
        self.assertEqual((plugins["good.so"]["id"], plugins["good.so"]["kind"]), ("good", "scorer"))
        self.assertIn("ABI 2", plugins["bad.so"]["error"])
        self.assertIn("signal 11", plugins["crash.so"]["error"])
        checks = {c["name"]: c["result"] for c in self.daemon.call("org.cwpd.Admin.Doctor")["checks"]}
        self.assertEqual((checks["cwp-worker"], checks["store"], checks["plugins"]), ("good", "good", "warning"))

    def test_reload_of_a_bad_file(self):
        self.daemon.configure("limits: {jbos: 3}\n")
        with self.assertRaises(Failed) as caught:
            self.daemon.call("org.cwpd.Admin.Reload")
        self.assertEqual(caught.exception.error, "org.cwpd.Admin.ConfigInvalid")
        self.assertEqual(caught.exception.parameters["nearest"], "jobs")
        self.daemon.configure("state: /nowhere\n")
        with self.assertRaises(Failed) as caught:
            self.daemon.call("org.cwpd.Admin.Reload")
        self.assertIn("restart", caught.exception.parameters["reason"])
        self.assertEqual(self.daemon.wait(self.daemon.submit()).popitem()[1], "done")


class Messages(daemon_test.DaemonTest):
    def garbage(self, data, error=BAD):
        """An error, then the end of the connection."""
        with self.daemon.client() as client:
            client.send_raw(data)
            self.assertEqual(client.receive()["error"], error)
            with self.assertRaises(Gone):
                client.receive()

    def tearDown(self):
        self.assertEqual(self.daemon.jobs("List")["jobs"], [])
        super().tearDown()

    def test_garbage(self):
        for data in (b"\0", b"nonsense\0", b"{\0", b"[]\0", b"null\0", b'"x"\0', b"{}\0", b'{"method": 3}\0',
                b'{"method":"a.B","method":"a.B"}\0', b'{"method":"a.B","parameters":[]}\0', b'{"method":"a.B","more":1}\0',
                b'{"method":"a.B","more":true,"oneway":true}\0', b'{"method":"a.B","surplus":1}\0',
                b'{"method":"a\\u0000b"}\0', b'{"method":"\xff"}\0', b"GET / HTTP/1.1\r\n\r\n\0", b"{" * 33,
                b'{"a":' * 40, b"[" * 100000, b" " * ((1 << 20) + 1)):
            self.garbage(data)

    def test_random_garbage(self):
        rng = random.Random(1)
        for _ in range(200):
            with self.daemon.client() as client:
                try:
                    client.send_raw(rng.randbytes(rng.randrange(1, 3000)) + b"\0")
                    self.assertIn("error", client.receive())
                except (BrokenPipeError, ConnectionResetError, Gone):
                    pass

    def test_largest_message(self):
        call = b'{"method":"org.cwpd.Jobs.List"}'
        with self.daemon.client() as client:
            client.send_raw(call[:-1] + b" " * ((1 << 20) - len(call)) + b"}\0")
            self.assertIn("parameters", client.receive())

    def test_pieces_and_pipelines(self):
        call = b'{"method":"org.cwpd.Jobs.List"}\0'
        with self.daemon.client() as client:
            for byte in call:
                client.send_raw(bytes([byte]))
            self.assertEqual(client.reply()["parameters"]["jobs"], [])
            client.send_raw(call * 50 + b'{"method":"org.cwpd.Jobs.Describe","parameters":{"id":"9"}}\0' + call)
            for _ in range(50):
                self.assertEqual(client.reply()["parameters"]["jobs"], [])
            self.assertEqual(client.receive()["error"], "org.cwpd.Jobs.NoSuchJob")
            self.assertEqual(client.reply()["parameters"]["jobs"], [])

    def test_forms_of_no_parameters(self):
        for text in ("", ',"parameters":null', ',"parameters":{}', ',"more":false,"oneway":false,"upgrade":false'):
            with self.daemon.client() as client:
                client.send_raw(('{"method":"org.cwpd.Jobs.List"%s}' % text).encode() + b"\0")
                self.assertEqual(client.reply()["parameters"]["jobs"], [])

    def test_oneway(self):
        with self.daemon.client() as client:
            client.send("org.cwpd.Jobs.List", oneway=True)
            client.send("org.cwpd.Jobs.Describe", {"id": "9"}, oneway=True)
            self.assertEqual(client.call("org.varlink.service.GetInfo")["product"], "cwpd")

    def test_half_closed(self):
        """One who sends, shuts down and then reads (socat) gets his answer."""
        with self.daemon.client() as client:
            client.send("org.cwpd.Jobs.List")
            client.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.reply()["parameters"]["jobs"], [])
            with self.assertRaises(Gone):
                client.receive()

    def test_strange_ids(self):
        for id in ("", "0", "-1", "01", "1 ", "999999999999999999999", "1e3", "\u0661", "a" * 70000):
            with self.assertRaises(Failed) as caught:
                self.daemon.jobs("Describe", id=id)
            self.assertEqual(caught.exception.error, "org.cwpd.Jobs.NoSuchJob")


class Many(daemon_test.DaemonTest):
    config = "limits: {connections: 40, grace: 1s}\n"

    def test_ten_thousand(self):
        for i in range(10000):
            with self.daemon.client() as client:
                if i % 10 == 9:  # so that the last one is answered, and all before it were counted
                    self.assertEqual(client.call("org.cwpd.Jobs.List"), {"jobs": []})
        descriptors = os.listdir("/proc/%d/fd" % self.daemon.process.pid)
        self.assertLess(len(descriptors), 60)
        with self.daemon.client("org.cwpd.Metrics") as client:
            text = client.call("org.cwpd.Metrics.Get")["text"]
        total = [line for line in text.splitlines() if line.startswith("cwpd_connections_total ")]
        self.assertGreaterEqual(float(total[0].split()[1]), 10000)

    def test_burst(self):
        """Callers who leave at once do not count against the next one."""
        for _ in range(5):
            for _ in range(300):
                self.daemon.client().close()
            self.assertEqual(self.daemon.jobs("List"), {"jobs": []})

    def test_too_many(self):
        clients = []
        while len(clients) < 40:  # earlier ones may not be closed yet
            client = self.daemon.client()
            try:
                client.call("org.cwpd.Jobs.List")
                clients.append(client)
            except (Failed, BrokenPipeError):
                client.close()
        with self.daemon.client() as client:
            self.assertEqual(client.receive()["error"], "org.cwpd.Jobs.TooManyConnections")
            with self.assertRaises(Gone):
                client.receive()
        for client in clients:
            client.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                self.assertEqual(self.daemon.jobs("List"), {"jobs": []})
                return
            except Failed:
                time.sleep(0.02)
        self.fail("connections are not given back")

    def test_half_messages_harm_nobody(self):
        halves = [self.daemon.client() for _ in range(30)]
        for client in halves:
            client.send_raw(b'{"method":"org.cwpd.Jobs.')
        self.assertEqual(self.daemon.jobs("List"), {"jobs": []})
        halves[0].send_raw(b'List"}\0')
        self.assertEqual(halves[0].reply()["parameters"], {"jobs": []})
        for client in halves:
            client.close()

    def test_slow_reader_is_dropped(self):
        id = self.daemon.submit("plain", hold=True)
        with self.daemon.client() as client:
            call = json.dumps({"method": "org.varlink.service.GetInterfaceDescription",
                "parameters": {"interface": "org.cwpd.Jobs"}}).encode() + b"\0"
            client.socket.settimeout(2)
            sent = 0
            try:
                while sent < 200 << 20:
                    sent += client.socket.send(call * 100)
            except (BrokenPipeError, ConnectionResetError, socket.timeout):
                pass
            self.assertLess(sent, 200 << 20)
            with open("/proc/%d/status" % self.daemon.process.pid) as f:
                resident = [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0]
            # Sanitizers and valgrind alone take as much.
            if "san" not in os.path.basename(BUILD) and not os.environ.get("CWP_WRAP"):
                self.assertLess(resident, 100 << 10)
        self.assertEqual(self.daemon.state(id), "held")


class HalfMessageTimeout(daemon_test.DaemonTest):
    def test_it_is_closed(self):
        with self.daemon.client() as client:
            client.send_raw(b'{"method":')
            begun = time.monotonic()
            with self.assertRaises(Gone):
                client.receive()
            self.assertGreater(time.monotonic() - begun, 5)


if __name__ == "__main__":
    daemon_test.main()

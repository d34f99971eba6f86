# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon that says what a test tells it to: the Varlink side of cwpd, and nothing behind it."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import tempfile
import threading

SOURCE = pathlib.Path(os.environ.get("CWP_SRCDIR", pathlib.Path(__file__).resolve().parents[2]))
SOCKETS = ("org.cwpd.Jobs", "org.cwpd.Admin", "org.cwpd.Metrics")


def declared():
    """{"org.cwpd.Jobs.Submit": {"job", "directory", ..}}: what the interface text lets a caller pass."""
    found = {}
    for path in (SOURCE / "daemon/ctl/idl").glob("*.varlink"):
        text = re.sub(r"#.*", "", path.read_text())
        interface = re.search(r"^interface\s+(\S+)", text, re.M).group(1)
        for name, parameters in re.findall(r"^method\s+(\w+)\s*\(([^)]*)\)\s*->", text, re.M):
            found[f"{interface}.{name}"] = set(re.findall(r"(\w+)\s*:", parameters))
    return found


class Error(Exception):
    """Raised by a handler: the reply carries this error."""

    def __init__(self, name, **parameters):
        super().__init__(name)
        self.name = name
        self.parameters = parameters


class Drop(Exception):
    """Raised by a handler: the connection is closed without a word."""


class Silence(Exception):
    """Raised by a handler: no answer until the daemon stops."""


class FakeDaemon:
    """handlers: {"org.cwpd.Jobs.List": function(parameters)}; a function returns the reply's parameters, or is a
    generator of them for a call with "more". calls: all that arrived, as (socket, method, parameters, more)."""

    def __init__(self, **handlers):
        self.folder = tempfile.mkdtemp(prefix="cwp-fake-")
        self.handlers = {f"org.cwpd.{name.replace('_', '.', 1)}": f for name, f in handlers.items()}
        self.handlers.setdefault("org.varlink.service.GetInfo", lambda p: {
            "vendor": "cwpd", "product": "cwpd", "version": "9.8.7", "url": "", "interfaces": list(SOCKETS)})
        self.calls = []
        self.problems = []
        self.declared = declared()
        self.stopping = threading.Event()
        self.listeners = []
        for name in SOCKETS:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{self.folder}/{name}")
            listener.listen(16)
            self.listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener, name), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for listener in self.listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self, listener, name):
        while not self.stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, name), daemon=True).start()

    def _serve(self, connection, name):
        pending = b""
        with connection, contextlib.suppress(OSError, Drop):
            while True:
                data = connection.recv(65536)
                if not data:
                    return
                pending += data
                while b"\0" in pending:
                    message, pending = pending.split(b"\0", 1)
                    self._answer(connection, name, json.loads(message))

    def _answer(self, connection, name, call):
        method, parameters, more = call["method"], call.get("parameters") or {}, call.get("more", False)
        self.calls.append((name, method, parameters, more))
        if method in self.declared:
            unknown = set(parameters) - self.declared[method]
            if unknown:
                self.problems.append(f"{method}: the interface does not declare {sorted(unknown)}")
        elif not method.startswith("org.varlink.service."):
            self.problems.append(f"no interface declares {method}")

        def send(message):
            connection.sendall(json.dumps(message).encode() + b"\0")

        try:
            if method not in self.handlers:
                raise Error("org.varlink.service.MethodNotFound", method=method)
            answer = self.handlers[method](parameters)
            if answer is None or isinstance(answer, dict):
                send({"parameters": answer or {}})
                return
            before = None
            for reply in answer:
                if before is not None:
                    send({"parameters": before, "continues": True})
                before = reply
            if before is not None:
                send({"parameters": before})
        except Error as error:
            send({"error": error.name, "parameters": error.parameters})
        except Silence:
            self.stopping.wait(60)

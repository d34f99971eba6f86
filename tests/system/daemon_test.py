# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the whole daemon share: a small client, a daemon with folders of its own, and a worker that does as
the job's name says. Standard library only."""
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SOURCE = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(__file__), "..", ".."))

FAKE_WORKER = r'''#!%(python)s -IS
import json, os, select, signal, sys, time
def read_job(fd):
    data = b""
    while not data.endswith(b"\0"):
        piece = os.read(fd, 65536)
        if not piece:
            break
        data += piece
    return data.rstrip(b"\0").decode()
def say(**message):
    os.write(3, json.dumps(message).encode() + b"\0")
def option(name):
    return sys.argv[sys.argv.index(name) + 1]
verb = sys.argv[1]
if verb == "compare":
    outputs = sys.argv[sys.argv.index("--") + 1:]
    print(json.dumps({"comparison": {"outputs": outputs, "metrics": []}, "html": "<!DOCTYPE html>"}))
    sys.exit(0)
text = read_job(0)
if verb == "gate":
    if "unknown" in text:
        print(json.dumps({"error": {"code": -1003, "message": "gate: no such metric", "field": "gate", "nearest": "bias.acc"}}))
        sys.exit(65)
    if "crash" in text:
        os.kill(os.getpid(), 11)
    failed = "fails" in text
    print(json.dumps({"gate": [{"metric": sys.argv[sys.argv.index("--") + 1], "passed": not failed}], "rejected": failed}))
    sys.exit(2 if failed else 0)
words, output = {}, None
for line in text.splitlines():
    if line.startswith("name:"):
        for word in line[5:].split():
            key, _, value = word.partition("=")
            words[key] = value
            if key == "do":  # of a matrix: one of its jobs does this
                words[value] = ""
    if line.startswith("output:"):
        output = os.path.join(option("--directory"), line[7:].strip())
if verb == "plan":
    if "plan-sleep" in words:
        time.sleep(float(words["plan-sleep"]))
    if "plan-refuse" in words:
        print(json.dumps({"error": {"code": -1009, "message": "model: no such folder", "field": "model", "line": 2, "column": 8}}))
        sys.exit(65)
    if "plan-crash" in words:
        os.kill(os.getpid(), 11)
    if "plan-garbage" in words:
        print("not json")
        sys.exit(0)
    if "plan-fail" in words:
        sys.stderr.write("no plan today\nsecond line\n")
        sys.exit(1)
    bounds = {"memory": int(words.get("memory", "1048576")), "gpu_memory": int(words.get("gpu", "0")), "scratch": 4096}
    plan = {"bounds": bounds, "stages": []}
    if "points" in words:
        plan["children"] = [{"name": str(i), "bounds": dict(bounds, scratch=i)} for i in range(int(words["points"]))]
    print(json.dumps(plan))
    sys.exit(0)
scratch = option("--scratch")
def on_term(number, frame):
    os._exit(143)
if "ignore-term" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, on_term)
open(os.path.join(scratch, "pids"), "a").write("%%d\n" %% os.getpid())
if "child" in words:
    if os.fork() == 0:
        open(os.path.join(scratch, "child"), "w").write("%%d\n" %% os.getpid())
        time.sleep(600)
        os._exit(0)
print("worker begins")
sys.stdout.flush()
def finish(result, code, **more):
    say(status="end", result=result, **more)
    sys.exit(code)
def done():
    if not os.path.isdir(os.path.dirname(output)):
        finish("failed", 1, error={"code": -2, "message": "output: its folder does not exist"})
    os.makedirs(output, exist_ok=True)
    with open(os.path.join(output, "report.json"), "w") as f:
        json.dump({"job": {"name": "fake"}, "stages": []}, f)
    # Each finished run leaves a mark: a job that is done twice shows here.
    with open(os.path.join(output, "runs"), "a") as f:
        f.write("done\n")
    finish("done", 0)
def given():
    """The GPU that the daemon gave, as a file beside the output."""
    with open(output + ".gpus", "a") as f:
        f.write((option("--gpu") if "--gpu" in sys.argv else "unsaid") + "\n")
def wait(seconds):
    """Sleeps; ends with the daemon, and when it is asked to."""
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        ready, _, _ = select.select([0], [], [], left)
        if ready:
            data = os.read(0, 4096)
            if not data:
                os._exit(1)
            if b"cancel" in data and "ignore-cancel" not in words:
                finish("cancelled", 1)
if "\nmatrix:" in text:  # the report of a sweep
    with open(os.path.join(output, "reports"), "a") as f:
        f.write("begun\n")
    wait(float(words.get("report-sleep", "0")))
    if "report-fail" in words and not os.path.exists(os.path.join(output, "mended")):
        finish("failed", 1, error={"code": -1007, "message": "no report today"})
    done()
if "gpu" in words:
    given()
say(status="plan", memory=1048576, gpu_memory=0, scratch=4096)
if "exit" in words:
    sys.exit(int(words["exit"]))
if "die" in words:
    os.kill(os.getpid(), int(words["die"]))
if "garbage" in words:
    os.write(3, b"}{\0")
    time.sleep(60)
if "flood" in words:
    for i in range(2000):
        os.write(1, b"\x1b[31mline \xff%%d " %% i + b"x" * 6000 + b"\n")
steps = int(words.get("steps", "3"))
pause = float(words.get("step", "0.02"))
begin = 0
state = os.path.join(scratch, "step")
if "resume" in words and os.path.exists(state):
    begin = int(open(state).read() or 0)
for i in range(begin, steps):
    say(status="stage", stage="score", done=i, total=steps, unit="samples")
    say(status="log", level="info", text="step %%d" %% i)
    wait(pause)
    if "resume" in words:
        with open(state + ".new", "w") as f:
            f.write(str(i + 1))
        os.rename(state + ".new", state)
        say(status="checkpoint")
if "reject" in words:
    finish("rejected", 2, error={"code": -1011, "message": "bias.pct_stereotype is worse by 3"})
if "full" in words and not os.path.exists(os.path.join(scratch, "tried")):
    open(os.path.join(scratch, "tried"), "w").close()
    finish("failed", 1, error={"code": -28, "message": "scratch: no space left"})
if "lost" in words and not os.path.exists(os.path.join(scratch, "tried")):
    open(os.path.join(scratch, "tried"), "w").close()
    finish("failed", 1, error={"code": -19, "message": "plugin 'cuda': matmul: the device is lost"})
if "fail" in words:
    finish("failed", 1, error={"code": -1007, "message": "tensor digest differs", "field": "model"})
done()
'''

FAKE_PROBE = r'''#!%(python)s -IS
import json, os, sys
name = os.path.basename(sys.argv[-1])
if "--devices" in sys.argv:
    print(open(sys.argv[-1]).read())
    sys.exit(0)
if "crash" in name:
    os.kill(os.getpid(), 11)
if "bad" in name:
    sys.stderr.write(name + ": ABI 2, this host has 1\n")
    sys.exit(1)
print(json.dumps({"id": name[:-3], "kind": "backend" if name == "cuda.so" else "scorer", "version": "1.0"}))
'''


class Gone(Exception):
    """The daemon closed the connection."""


class Failed(Exception):
    """The daemon answered with an error."""

    def __init__(self, error, parameters):
        super().__init__("%s %s" % (error, parameters))
        self.error = error
        self.parameters = parameters


class Client:
    def __init__(self, path, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(path)  # waits while the backlog is full, which it would not do with a time limit
        except OSError:
            self.socket.close()
            raise
        self.socket.settimeout(timeout)
        self.data = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, method, parameters=None, **flags):
        self.send_raw(json.dumps(dict(method=method, parameters=parameters or {}, **flags)).encode() + b"\0")

    def receive(self):
        while b"\0" not in self.data:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Gone()
            self.data += piece
        message, self.data = self.data.split(b"\0", 1)
        return json.loads(message)

    def reply(self):
        message = self.receive()
        if "error" in message:
            raise Failed(message["error"], message.get("parameters", {}))
        return message

    def call(self, method, **parameters):
        self.send(method, parameters)
        return self.reply().get("parameters", {})

    def stream(self, method, **parameters):
        self.send(method, parameters, more=True)
        while True:
            message = self.reply()
            yield message.get("parameters", {})
            if not message.get("continues"):
                return


def make_executable(path, text):
    with open(path, "w") as f:
        f.write(text % {"python": sys.executable})
    os.chmod(path, 0o755)


class Daemon:
    """A daemon in user mode, everything of it below one temporary folder. $CWP_WRAP is put before its command line, such
    as "valgrind -q --leak-check=full --error-exitcode=99"."""

    def __init__(self, config=None, wrap=()):
        self.folder = tempfile.mkdtemp(prefix="cwp-", dir=os.environ.get("TMPDIR", "/tmp"))
        for name in ("run", "state", "config/cwp", "libexec", "plugins", "work"):
            os.makedirs(os.path.join(self.folder, name), mode=0o700)
        make_executable(self.path("libexec", "cwp-worker"), FAKE_WORKER)
        make_executable(self.path("libexec", "cwp-probe"), FAKE_PROBE)
        self.wrap = list(wrap) + os.environ.get("CWP_WRAP", "").split()
        self.process = None
        self.configure(config)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def configure(self, config):
        path = self.path("config", "cwp", "cwpd.yaml")
        if config is None:
            config = "limits: {jobs: 1, grace: 1s}\n"
        with open(path, "w") as f:
            f.write(config)

    def environment(self):
        environment = dict(os.environ, XDG_RUNTIME_DIR=self.path("run"), XDG_STATE_HOME=self.path("state"),
            XDG_CONFIG_HOME=self.path("config"), CWP_LIBEXEC=self.path("libexec"), CWP_PLUGIN_DIR=self.path("plugins"))
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM"):
            environment.pop(name, None)
        return environment

    def start(self, wait=True, arguments=()):
        self.log = open(self.path("log"), "ab")
        self.process = subprocess.Popen(self.wrap + [os.path.join(BUILD, "cwpd")] + list(arguments),
            env=self.environment(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.log.close()
        if wait:
            self.wait_ready()

    def wait_ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError("cwpd ended with %d: %s" % (self.process.returncode, self.read_log()))
            try:
                with Client(self.socket()):
                    return
            except OSError:
                time.sleep(0.01)
        raise AssertionError("cwpd is not ready: " + self.read_log())

    def socket(self, name="org.cwpd.Jobs"):
        return self.path("run", "cwp", name)

    def client(self, name="org.cwpd.Jobs", **options):
        return Client(self.socket(name), **options)

    def call(self, method, **parameters):
        with self.client(method.rsplit(".", 1)[0]) as client:
            return client.call(method, **parameters)

    def jobs(self, method, **parameters):
        return self.call("org.cwpd.Jobs." + method, **parameters)

    def job_text(self, name="plain", output=None, more=""):
        return "name: %s\nmodel: model\noutput: %s\nquantize: {plugin: static}\n%s" % (
            name, output or "out-" + uuid.uuid4().hex, more)

    def submit(self, name="plain", output=None, more="", key=None, **parameters):
        return self.jobs("Submit", job=self.job_text(name, output, more), directory=self.path("work"),
            key=key or str(uuid.uuid4()), **parameters)["id"]

    def state(self, id):
        return self.jobs("Describe", id=id)["job"]["state"]

    def wait(self, *ids):
        with self.client() as client:
            return {reply["id"]: reply["state"] for reply in client.stream("org.cwpd.Jobs.Wait", ids=list(ids))}

    def wait_state(self, id, *states, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.state(id)
            if state in states:
                return state
            time.sleep(0.02)
        raise AssertionError("job %s is %s, not %s: %s" % (id, state, states, self.read_log()))

    def wait_stage(self, id):
        """Until its worker has reported progress."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.jobs("Describe", id=id)["job"].get("progress"):
                return
            time.sleep(0.02)
        raise AssertionError("job %s makes no progress: %s" % (id, self.read_log()))

    def worker_pid(self, id):
        """Of the last attempt, from the scratch folder."""
        job = self.jobs("Describe", id=id)["job"]
        folder, name = os.path.split(job["output"])
        with open(os.path.join(folder, ".%s.scratch-%s" % (name, id), "pids")) as f:
            return int(f.read().split()[-1])

    def read_log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(60)

    def stop(self):
        """Orderly; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        return code

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class DaemonTest(unittest.TestCase):
    config = None
    wrap = ()

    def setUp(self):
        self.daemon = Daemon(self.config, self.wrap)
        self.daemon.start()

    def tearDown(self):
        try:
            if self.daemon.process is not None:
                self.assertEqual(self.daemon.stop(), 0, self.daemon.read_log())
            self.check_log()
        finally:
            self.daemon.remove()

    def check_log(self):
        """Every reply followed its interface, and nothing was left open."""
        log = self.daemon.read_log()
        for words in ("does not follow its interface", "handle is open", "Sanitizer", "runtime error", "could not be stored"):
            self.assertNotIn(words, log)

    def fails(self, error, method, **parameters):
        with self.assertRaises(Failed) as caught:
            self.daemon.call(method, **parameters)
        self.assertEqual(caught.exception.error, error)
        return caught.exception.parameters

    def is_alive(self, pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    def wait_dead(self, pid, seconds=20):
        deadline = time.monotonic() + seconds
        while self.is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(self.is_alive(pid), "process %d lives" % pid)


def main():
    program = os.path.join(BUILD, "cwpd")
    if not os.path.exists(program):
        print("skipped: %s is not built" % program)
        sys.exit(77)
    unittest.main(verbosity=2)

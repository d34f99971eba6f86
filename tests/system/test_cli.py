#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Every verb and every exit code of cwpctl, against a daemon that says what the test tells it to."""
import fcntl
import json
import os
import pathlib
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from fake_daemon import Drop, Error, FakeDaemon, Silence, SOURCE  # noqa: E402

BUILD = pathlib.Path(os.environ.get("CWP_BUILDDIR", "."))
CWPCTL = BUILD / "cwpctl"
JOBS = "org.cwpd.Jobs"
ADMIN = "org.cwpd.Admin"

JOB = {"id": "7", "name": "first", "state": "running", "stage": "calibrate", "progress": 0.435, "owner": "ann",
       "submitted": 1763795738.5, "priority": 0, "reason": None}
DETAIL = {"id": "7", "name": "first", "state": "done", "owner": "ann", "uid": 1000, "submitted": 1763795738.5,
          "started": 1763795739.0, "ended": 1763795939.0, "priority": 5, "after": ["6"], "model": "/m/model.gguf",
          "output": "/m/out", "directory": "/m", "digest": "ab" * 32, "progress": None,
          "resources": {"threads": 2, "memory": 1 << 30, "gpu_memory": 0, "scratch": 3 << 29, "time": 7200},
          "attempts": [{"number": 1, "started": 1763795739.0, "ended": 1763795800.0, "result": "interrupted",
                        "exit_code": None, "signal": 9, "checkpoints": 2, "reason": "killed"}],
          "interruptions": 1, "cancelling": False, "reasons": [], "error": None}


def environment(**more):
    kept = {k: v for k, v in os.environ.items()
            if k not in ("CWP_SOCKET", "XDG_RUNTIME_DIR", "NO_COLOR", "COLUMNS", "TERM")}
    return {**kept, "TZ": "UTC", "LC_ALL": "C", **more}


def cwpctl(*words, daemon=None, stdin="", cwd=None, **more):
    if daemon is not None:
        more["CWP_SOCKET"] = daemon.folder
    return subprocess.run([str(CWPCTL), *words], env=environment(**more), input=stdin, text=True, cwd=cwd,
                          capture_output=True, timeout=60, check=False)


def event(cursor, kind, time=100.0, **more):
    return {"event": {"cursor": cursor, "time": time, "id": "7", "kind": kind, "state": None, "attempt": None,
                      "reason": None, "progress": None, **more}}


def progress(stage, done, total, unit="layers", rate=1.5, eta=12.0):
    return {"stage": stage, "done": done, "total": total, "unit": unit, "fraction": 0.5, "rate": rate, "eta": eta}


def in_terminal(words, daemon, columns=80, **more):
    """Runs cwpctl on a terminal of its own; its exit status and all that it wrote there."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([str(CWPCTL), *words], stdin=other, stdout=other, stderr=other,
                               env=environment(CWP_SOCKET=daemon.folder, **{"TERM": "xterm", **more}))
    os.close(other)
    text = b""
    while True:
        try:
            data = os.read(main, 65536)
        except OSError:
            break
        if not data:
            break
        text += data
    os.close(main)
    return process.wait(timeout=60), text.decode()


class Case(unittest.TestCase):
    def daemon(self, **handlers):
        daemon = FakeDaemon(**handlers)
        self.addCleanup(lambda: self.assertEqual(daemon.problems, []))
        self.addCleanup(daemon.stop)
        return daemon

    def check(self, result, status, out=None, err=None):
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        if out is not None:
            self.assertIn(out, result.stdout)
        if err is not None:
            self.assertIn(err, result.stderr)
        if status == 0 and err is None:
            self.assertEqual(result.stderr, "")
        return result

    def job_file(self, text="model: m\n"):
        folder = tempfile.TemporaryDirectory(prefix="cwp-cli-")
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(os.path.realpath(folder.name)) / "job.yaml"
        path.write_text(text)
        return path


class Usage(Case):
    def test_help(self):
        result = self.check(cwpctl("--help"), 0, "usage: cwpctl")
        for verb in verbs():
            self.assertRegex(result.stdout, rf"(?m)^  {verb} ")
            self.check(cwpctl(verb, "--help"), 0, f"usage: cwpctl {verb}")

    def test_errors(self):
        for words, says in (
                ([], "no verb"), (["lst"], "nearest: list"), (["--jsn", "list"], "nearest: --json"),
                (["submit", "--prioritty", "3", "x"], "nearest: --priority"), (["submit"], "needs JOB.yaml"),
                (["show"], "needs ID"), (["show", "1", "2"], "one operand too many"), (["list", "-x"], "unknown option"),
                (["submit", "x", "--priority"], "needs a value"), (["list", "--json=1"], "takes no value"),
                (["priority", "7", "101"], "no whole number"), (["priority", "7", "1x"], "no whole number"),
                (["wait", "7", "--timeout", "soon"], "is no time"), (["list", "--state", "dnoe"], "nearest: done"),
                (["plugins", "shw", "x"], "show NAME"), (["completion", "sh"], "nearest: bash"),
                (["log", "7", "--from", "-1"], "no whole number"), (["show", "7", "--socket"], "needs a value")):
            with self.subTest(words=words):
                result = self.check(cwpctl(*words), 64, err=says)
                self.assertEqual(result.stdout, "")
                self.assertIn("--help", result.stderr)

    def test_completions_are_those_that_are_installed(self):
        installed = (SOURCE / "conf/completions/cwpctl").read_text()
        self.assertEqual(cwpctl("completion", "bash").stdout, installed)

    def test_manual_page_names_all(self):
        page = (SOURCE / "man/cwpctl.1").read_text().replace("\\-", "-")
        for verb in verbs():
            self.assertRegex(page, rf"(?m)^\.It Cm {verb}\b", verb)
            for line in cwpctl(verb, "--help").stdout.split("Options:")[1].split("\n"):
                if line.startswith("  --"):
                    self.assertRegex(page, rf"Fl -{line.split()[0][2:]}\b", f"{verb} {line}")


def verbs():
    text = cwpctl("--help").stdout.split("Verbs:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in text.split("\n")]


class NoDaemon(Case):
    def test_nobody_listens(self):
        with tempfile.TemporaryDirectory() as folder:
            result = self.check(cwpctl("list", "--socket", folder), 69, "", "no daemon listens at")
            self.assertIn(f"{folder}/org.cwpd.Jobs", result.stderr)
            self.assertEqual(json.loads(cwpctl("--json", "list", "--socket", folder).stdout)["error"]["exit"], 69)

    def test_user_daemon_is_found_first(self):
        daemon = self.daemon(Jobs_List=lambda p: {"jobs": [JOB]})
        runtime = tempfile.TemporaryDirectory()
        self.addCleanup(runtime.cleanup)
        os.symlink(daemon.folder, f"{runtime.name}/cwp")
        self.check(cwpctl("list", XDG_RUNTIME_DIR=runtime.name), 0, "first")

    def test_path_too_long(self):
        self.check(cwpctl("list", "--socket", "/tmp/" + "x" * 120), 64, err="at most")

    def test_denied(self):
        daemon = self.daemon()
        os.chmod(daemon.folder, 0o711)
        os.chmod(f"{daemon.folder}/org.cwpd.Jobs", 0)
        # Root may connect anywhere, so it sends nobody, who must be able to run what was built.
        more = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            result = subprocess.run([str(CWPCTL), "list", "--socket", daemon.folder], env=environment(), text=True,
                                    capture_output=True, timeout=60, check=False, cwd="/", **more)
        except PermissionError:
            self.skipTest("nobody may not run what was built here")
        self.check(result, 77, err="permission denied")

    def test_closes(self):
        def drop(_):
            raise Drop
        daemon = self.daemon(Jobs_Describe=drop)
        self.check(cwpctl("show", "7", daemon=daemon), 69, "", "closed the connection")
        self.assertEqual(len(daemon.calls), 2)

    def test_talks_nonsense(self):
        daemon = self.daemon(Jobs_Describe=lambda p: ["no object"])
        self.check(cwpctl("show", "7", daemon=daemon), 69, "")


class Errors(Case):
    EXITS = {
        f"{JOBS}.NoSuchJob": (65, {"id": "7"}, "no job 7"),
        f"{JOBS}.BadState": (65, {"id": "7", "state": "done", "reason": "it has ended"}, "job 7 is done: it has ended"),
        f"{JOBS}.QueueFull": (75, {"reason": "100 jobs"}, "100 jobs"),
        f"{JOBS}.Draining": (69, {"reason": "new disks"}, "new disks"),
        f"{JOBS}.PathNotAllowed": (77, {"path": "/etc", "field": "model", "reason": "outside"}, "model: /etc: outside"),
        f"{JOBS}.NotOwner": (77, {"id": "7", "owner": "bob"}, "belongs to bob"),
        f"{JOBS}.PluginUnknown": (65, {"plugin": "fischer", "nearest": "fisher"}, "nearest: fisher"),
        f"{JOBS}.KeyReused": (65, {"key": "k", "id": "3"}, "job 3"),
        f"{JOBS}.PlanFailed": (75, {"reason": "killed"}, "killed"),
        f"{JOBS}.NoOutcomes": (65, {"reason": "bias.ac is no metric", "nearest": "bias.acc"}, "bias.ac is no metric"),
        f"{JOBS}.NoReport": (65, {"id": "7", "reason": "it runs"}, "it runs"),
        f"{JOBS}.TooManyConnections": (75, {"limit": 64}, "limit 64"),
        f"{JOBS}.Internal": (75, {"reason": "disk full"}, "disk full"),
        f"{JOBS}.BadMessage": (65, {"reason": "too deep"}, "too deep"),
        f"{ADMIN}.Busy": (75, {}, "under way"),
        "org.varlink.service.PermissionDenied": (77, {}, "not permit"),
        "org.varlink.service.InvalidParameter": (65, {"parameter": "id"}, "parameter id"),
        "org.varlink.service.MethodNotImplemented": (69, {"method": "X"}, "without X"),
        "org.varlink.service.InterfaceNotFound": (69, {"interface": "X"}, "serve X"),
        "org.varlink.service.ExpectedMore": (69, {}, "stream"),
        "org.example.New": (69, {"a": 1}, 'org.example.New {"a":1}'),
    }

    def test_each(self):
        for name, (status, parameters, says) in self.EXITS.items():
            def refuse(_, name=name, parameters=parameters):
                raise Error(name, **parameters)
            with self.subTest(error=name):
                daemon = self.daemon(Jobs_Cancel=refuse)
                result = self.check(cwpctl("cancel", "7", daemon=daemon), status, "", says)
                self.assertRegex(result.stderr, r"\Acwpctl: [^\n]+\n\Z")
                document = json.loads(cwpctl("cancel", "7", "--json", daemon=daemon).stdout)
                self.assertEqual(document["error"]["name"], name)
                self.assertEqual(document["error"]["exit"], status)
                self.assertEqual(document["error"]["parameters"], parameters)

    def test_every_declared_error_is_known(self):
        text = "".join(p.read_text() for p in (SOURCE / "daemon/ctl/idl").glob("org.cwpd.*.varlink"))
        known = {n.rsplit(".", 1)[1] for n in self.EXITS} | {"JobInvalid", "ConfigInvalid"}
        for line in text.split("\n"):
            if line.startswith("error "):
                self.assertIn(line.split()[1], known)

    def test_hostile_text(self):
        def refuse(_):
            raise Error(f"{JOBS}.QueueFull", reason="\x1b[2J\u202ex\nfaked: line")
        result = cwpctl("cancel", "7", daemon=self.daemon(Jobs_Cancel=refuse))
        self.assertEqual(result.stderr, "cwpctl: the queue is full: \\x1b[2J\\u{202e}x\\x0afaked: line\n")


class Submit(Case):
    def test_sends_text_and_folder(self):
        daemon = self.daemon(Jobs_Submit=lambda p: {"id": "7", "plan": None})
        path = self.job_file("model: mödel\n")
        self.check(cwpctl("submit", str(path), daemon=daemon), 0, "7: submitted\n")
        self.check(cwpctl("submit", "--quiet", "job.yaml", cwd=path.parent, daemon=daemon), 0, "7\n")
        self.assertEqual(json.loads(cwpctl("submit", str(path), "--json", daemon=daemon).stdout)["id"], "7")
        keys = set()
        for socket, method, parameters, _ in daemon.calls:
            self.assertEqual((socket, method), (JOBS, f"{JOBS}.Submit"))
            self.assertEqual(parameters["job"], "model: mödel\n")
            self.assertEqual(parameters["directory"], str(path.parent))
            self.assertRegex(parameters["key"], r"\A[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
            self.assertEqual(set(parameters), {"job", "directory", "key"})
            keys.add(parameters["key"])
        self.assertEqual(len(keys), 3)

    def test_options(self):
        daemon = self.daemon(Jobs_Submit=lambda p: {"id": "8"})
        self.check(cwpctl("submit", "--priority=-5", "--after", "3", "--after", "any:4", "--hold", "--key", "k", "-",
                          stdin="model: x\n", cwd="/", daemon=daemon), 0)
        self.assertEqual(daemon.calls[0][2], {"job": "model: x\n", "directory": "/", "key": "k", "priority": -5,
                                             "after": ["3", "any:4"], "hold": True})

    def test_dry_run(self):
        plan = {"resources": {"threads": 2, "memory": 700 << 20, "gpu_memory": 0, "scratch": 3 << 29, "time": 90},
                "plan": {"stages": [], "evaluations": [{"name": "bias", "tokens": 12345, "generated": 67, "seconds": 130.0}, 5],
                         "gate": [{"metric": "bias.flips", "condition": "at-most", "asked": 0.1, "needs": "the output"}]}}
        daemon = self.daemon(Jobs_Submit=lambda p: {"id": None, "plan": plan})
        path = str(self.job_file())
        result = self.check(cwpctl("submit", "--dry-run", path, daemon=daemon), 0, "valid")
        self.assertIn("700.0 MiB", result.stdout)
        self.assertIn("1.5 GiB", result.stdout)
        self.assertRegex(result.stdout, r"evaluate bias +12345 tokens +67 generated +about 2")
        self.assertIn("gate needs bias.flips of the output\n", result.stdout)
        self.assertEqual(json.loads(cwpctl("submit", "--dry-run", path, "--json", daemon=daemon).stdout), {"plan": plan})
        self.assertTrue(daemon.calls[0][2]["dry_run"])
        self.assertNotIn("warning", result.stdout)

    def test_warnings_of_the_plan(self):
        plan = {"resources": {"threads": 2, "memory": 1, "gpu_memory": 0, "scratch": 0, "time": 0},
                "plan": {"stages": [], "warnings": ["it is \x1b[31massumed", 7, "and this"]}}
        path = str(self.job_file())
        daemon = self.daemon(Jobs_Submit=lambda p: {"id": None if p.get("dry_run") else "7", "plan": plan})
        told = f"{path}: warning: it is \\x1b[31massumed\n{path}: warning: and this\n"
        result = self.check(cwpctl("submit", "--dry-run", path, daemon=daemon), 0, "valid")
        self.assertTrue(result.stdout.endswith(told), result.stdout)
        result = cwpctl("submit", path, daemon=daemon)
        self.assertEqual((result.stdout, result.stderr), ("7: submitted\n", told))
        result = cwpctl("submit", "--quiet", path, daemon=daemon)
        self.assertEqual((result.stdout, result.stderr), ("7\n", ""))
        result = cwpctl("submit", "--json", path, daemon=daemon)
        self.assertEqual((json.loads(result.stdout), result.stderr), ({"id": "7", "plan": plan}, ""))

    def test_invalid_job_reads_like_a_compilers_error(self):
        def refuse(_):
            raise Error(f"{JOBS}.JobInvalid", path="protect.fracton", line=12, column=3, reason="unknown key",
                        nearest="fraction")
        path = str(self.job_file())
        daemon = self.daemon(Jobs_Submit=refuse)
        result = self.check(cwpctl("submit", path, daemon=daemon), 65, "")
        self.assertEqual(result.stderr, f"{path}:12:3: protect.fracton: unknown key (nearest: fraction)\n")
        document = json.loads(cwpctl("submit", path, "--json", daemon=daemon).stdout)
        self.assertEqual(document["error"]["parameters"]["line"], 12)

    def test_invalid_job_as_a_whole(self):
        def refuse(_):
            raise Error(f"{JOBS}.JobInvalid", path="", line=0, column=0, reason="empty", nearest="")
        result = cwpctl("submit", "-", stdin="", daemon=self.daemon(Jobs_Submit=refuse))
        self.check(result, 65, "", "<stdin>: empty\n")

    def test_bad_files(self):
        daemon = self.daemon()
        path = self.job_file()
        self.check(cwpctl("submit", str(path.parent / "none.yaml"), daemon=daemon), 65, "", "No such file")
        self.check(cwpctl("submit", str(path.parent), daemon=daemon), 65, "", "directory")
        path.write_bytes(b"model: \xff\n")
        self.check(cwpctl("submit", str(path), daemon=daemon), 65, "", "UTF-8")
        path.write_bytes(b"model: a\0b\n")
        self.check(cwpctl("submit", str(path), daemon=daemon), 65, "", "UTF-8")
        path.write_bytes(b"#" * ((1 << 20) + 1))
        self.check(cwpctl("submit", str(path), daemon=daemon), 65, "", "1 MiB")
        path.write_bytes(b"\x01" * (1 << 18))
        self.check(cwpctl("submit", str(path), daemon=daemon), 65, "")
        self.assertEqual(daemon.calls, [])

    def test_lost_answer_is_asked_for_again_with_the_same_key(self):
        seen = []

        def submit(parameters):
            seen.append(parameters["key"])
            if len(seen) == 1:
                raise Drop
            return {"id": "7"}
        self.check(cwpctl("submit", str(self.job_file()), "--quiet", daemon=self.daemon(Jobs_Submit=submit)), 0, "7\n")
        self.assertEqual(seen[0], seen[1])

    def test_follow(self):
        def follow(_):
            yield event(1, "state", state="running")
            yield event(2, "state", state="rejected", reason="ppl.word_perplexity")
        daemon = self.daemon(Jobs_Submit=lambda p: {"id": "7"}, Jobs_Follow=follow,
                             Jobs_Describe=lambda p: {"job": {**DETAIL, "state": "rejected"}})
        result = self.check(cwpctl("submit", "--follow", str(self.job_file()), daemon=daemon), 2)
        self.assertEqual(result.stdout, "7: submitted\n7: running\n7: rejected: ppl.word_perplexity\n")


class Look(Case):
    def test_list(self):
        pages = [{"jobs": [JOB], "cursor": "a"}, {"jobs": [{**JOB, "id": "8", "name": "x\x1b[31my", "state": "held"}]}]
        daemon = self.daemon(Jobs_List=lambda p: iter(pages))
        result = self.check(cwpctl("list", daemon=daemon), 0)
        lines = result.stdout.split("\n")
        self.assertEqual(lines[0].split(), ["ID", "STATE", "STAGE", "DONE", "PRIO", "OWNER", "SUBMITTED", "NAME"])
        self.assertEqual(lines[1].split(),
                         ["7", "running", "calibrate", "43%", "0", "ann", "2025-11-22", "07:15", "first"])
        self.assertIn("x\\x1b[31my", lines[2])
        document = json.loads(cwpctl("list", "--json", daemon=daemon).stdout)
        self.assertEqual(document, {"jobs": pages[0]["jobs"] + pages[1]["jobs"]})
        self.assertEqual(cwpctl("list", "--quiet", daemon=daemon).stdout, "7\n8\n")
        self.check(cwpctl("list", "--state", "done", "--state=failed", "--admin", daemon=daemon), 0)
        self.assertEqual(daemon.calls[-1], (ADMIN, f"{JOBS}.List", {"states": ["done", "failed"]}, True))

    def test_list_from_a_daemon_that_does_not_stream(self):
        self.check(cwpctl("list", daemon=self.daemon(Jobs_List=lambda p: {"jobs": []})), 0, "ID")

    def test_show(self):
        failed = {**DETAIL, "state": "failed", "error": {"code": -1004, "message": "NaN in x", "field": "model"}}
        daemon = self.daemon(Jobs_Describe=lambda p: {"job": failed})
        result = self.check(cwpctl("show", "7", daemon=daemon), 0, "model: NaN in x")
        for part in ("2 threads, memory 1.0 GiB, scratch 1.5 GiB, time 2 h 00 min", "interrupted", "signal 9", "/m/out"):
            self.assertIn(part, result.stdout)
        self.assertEqual(json.loads(cwpctl("show", "7", "--json", daemon=daemon).stdout), failed)

    def test_explain(self):
        daemon = self.daemon(Jobs_Explain=lambda p: {"state": "queued", "reasons": ["job 6 is not done", "no threads"]})
        self.assertEqual(cwpctl("explain", "7", daemon=daemon).stdout,
                         "7: queued\n- job 6 is not done\n- no threads\n")
        self.assertEqual(json.loads(cwpctl("explain", "7", "--json", daemon=daemon).stdout),
                         {"id": "7", "state": "queued", "reasons": ["job 6 is not done", "no threads"]})

    def test_log(self):
        text = "one\ntwo \\x1b[1m\nthree\x1b[2J\n"

        def log(parameters):
            at = parameters.get("cursor", 0)
            return {"text": text[at:at + 8], "cursor": min(at + 8, len(text))}
        daemon = self.daemon(Jobs_Log=log)
        self.assertEqual(cwpctl("log", "7", daemon=daemon).stdout, "one\ntwo \\x1b[1m\nthree\\x1b[2J\n")
        self.assertEqual(cwpctl("log", "7", "--from", "4", daemon=daemon).stdout, "two \\x1b[1m\nthree\\x1b[2J\n")
        self.assertEqual(json.loads(cwpctl("log", "7", "--json", daemon=daemon).stdout),
                         {"id": "7", "text": text, "cursor": len(text)})

    def test_log_follows(self):
        def log(_):
            yield {"text": "one\n", "cursor": 4}
            yield {"text": "two\n", "cursor": 8}
        daemon = self.daemon(Jobs_Log=log)
        self.assertEqual(cwpctl("log", "-f", "7", daemon=daemon).stdout, "one\ntwo\n")
        self.assertTrue(daemon.calls[0][3])


class Steer(Case):
    def test_states(self):
        for verb, method, state in (("cancel", "Cancel", "cancelled"), ("hold", "Hold", "held"),
                                    ("release", "Release", "queued"), ("retry", "Retry", "queued")):
            with self.subTest(verb=verb):
                daemon = self.daemon(**{f"Jobs_{method}": lambda p, s=state: {"state": s}})
                self.check(cwpctl(verb, "7", daemon=daemon), 0, f"7: {state}\n")
                self.assertEqual(json.loads(cwpctl(verb, "7", "--json", daemon=daemon).stdout), {"id": "7", "state": state})
                self.assertEqual(daemon.calls[0][2], {"id": "7"})

    def test_reason(self):
        daemon = self.daemon(Jobs_Hold=lambda p: {"state": "held"})
        self.check(cwpctl("hold", "7", "--reason", "disks", daemon=daemon), 0)
        self.assertEqual(daemon.calls[0][2], {"id": "7", "reason": "disks"})

    def test_others(self):
        daemon = self.daemon(Jobs_Remove=lambda p: {}, Jobs_Top=lambda p: {"priority": 51},
                             Jobs_SetPriority=lambda p: {"priority": p["priority"]})
        self.check(cwpctl("rm", "7", daemon=daemon), 0, "7: removed\n")
        self.check(cwpctl("top", "7", daemon=daemon), 0, "7: priority 51\n")
        self.check(cwpctl("priority", "7", "-3", daemon=daemon), 0, "7: priority -3\n")
        self.check(cwpctl("--admin", "rm", "7", "--json", daemon=daemon), 0, '"id": "7"')
        self.assertEqual(daemon.calls[-1][0], ADMIN)


class Sweeps(Case):
    POINTS = [{"name": f"fraction={f}", "values": {"protect.fraction": f}, "state": state, "output": "/o", **more} for f, state, more in (
        (0, "done", {"bits_per_weight": 4.25, "share": 0.0, "seconds": 61.0, "evaluation": [{"name": "ppl", "metric": "word", "n": 9,
            "original": {"value": 10.0, "low": None, "high": None}, "quantized": {"value": 12.5, "low": 12.0, "high": 13.0},
            "protected": None}]}),
        (0.1, "rejected", {"bits_per_weight": 5.5, "share": 0.1, "seconds": 5.0, "evaluation": []}), (0.2, "missing", {}))]

    def test_list_and_show(self):
        sweep = {**JOB, "children": 9, "ended": 3, "parent": None, "stage": "jobs"}
        child = {**JOB, "id": "8", "parent": "7", "children": None, "ended": None}
        daemon = self.daemon(Jobs_List=lambda p: {"jobs": [sweep, child]})
        lines = cwpctl("list", "--children", daemon=daemon).stdout.split("\n")
        self.assertEqual((lines[1].split()[:4], lines[2].split()[:4]),
            (["7", "running", "jobs", "3/9"], ["8", "running", "calibrate", "43%"]))
        self.assertEqual(daemon.calls[-1][2], {"children": True})
        self.check(cwpctl("list", "--sweep", "7", "--state", "done", daemon=daemon), 0)
        self.assertEqual(daemon.calls[-1][2], {"parent": "7", "states": ["done"]})
        daemon = self.daemon(Jobs_Describe=lambda p: {"job": {**DETAIL, "fields": ["protect.fraction", "seed"], "children": [child]}})
        shown = cwpctl("show", "7", daemon=daemon).stdout
        self.assertIn("\nsweeps     protect.fraction\n           seed\n", shown)
        self.assertIn("\n\nID  STATE", shown)
        values = {"protect.fraction": 0.05, "score.plugin": "fi\x1bsher", "x.y": True}
        daemon = self.daemon(Jobs_Describe=lambda p: {"job": {**DETAIL, "parent": "6", "values": values, "children": None}})
        shown = cwpctl("show", "7", daemon=daemon).stdout
        self.assertIn("\nsweep      6\nvalues     protect.fraction: 0.05\n           score.plugin: fi\\x1bsher\n           x.y: true\n", shown)
        self.assertNotIn("ID  STATE", shown)

    def test_submit(self):
        plan = {"resources": DETAIL["resources"], "plan": {"children": [{}, {}], "warnings": []}}
        daemon = self.daemon(Jobs_Submit=lambda p: {"id": None if p.get("dry_run") else "7", "plan": plan})
        path = str(self.job_file())
        self.check(cwpctl("submit", "--dry-run", path, daemon=daemon), 0, "valid; 2 jobs, each at most\n")
        self.assertEqual(cwpctl("submit", path, daemon=daemon).stdout, "7: submitted, a sweep of 2 jobs\n")
        self.assertEqual(cwpctl("submit", "--quiet", path, daemon=daemon).stdout, "7\n")

    def test_report(self):
        report = {"version": 1, "job": {}, "matrix": [], "points": self.POINTS}
        daemon = self.daemon(Jobs_Report=lambda p: {"path": "/o/report.json", "html": "/o/report.html", "report": report})
        lines = [line.split() for line in self.check(cwpctl("report", "7", daemon=daemon), 0).stdout.split("\n")]
        self.assertEqual(lines, [["POINT", "STATE", "BITS", "PROTECTED", "TOOK"], ["fraction=0", "done", "4.25", "0%", "61", "s"],
            ["fraction=0.1", "rejected", "5.50", "10.0%", "5.0", "s"], ["fraction=0.2", "missing", "-", "-", "-"], [],
            ["ppl.word", "N", "ORIGINAL", "QUANTIZED", "PROTECTED"],
            ["fraction=0", "9", "10.0", "12.5", "[12.0,", "13.0]", "-"], [], ["report", "/o/report.html"], []])
        self.assertEqual(json.loads(cwpctl("report", "7", "--json", daemon=daemon).stdout)["report"], report)
        report["best"] = {"name": "fraction=0", "passed": True, "bits_per_weight": 4.25, "met": 1, "conditions": 1, "failed": []}
        self.check(cwpctl("report", "7", daemon=daemon), 0, "\nSmallest that passes the gate: fraction=0, 4.25 bits a weight\n")
        report["best"].update(passed=False, met=0, failed=[{"metric": "ppl.w\x1b", "measured": 2.5, "bound": 2.0},
                                                           {"metric": "a.b", "measured": None, "bound": 0.5}])
        self.check(cwpctl("report", "7", daemon=daemon), 0, "\nNone passes the gate. Closest: fraction=0, 4.25 bits a weight; "
                   "ppl.w\\x1b is 2.50, the bound 2.00; a.b is no number, the bound 0.500\n")
        self.check(cwpctl("compare", "7", "8", daemon=daemon), 65, "", "7 is a sweep, whose report compares its jobs already")


class Follow(Case):
    def follow(self, *events, describe=None, **more):
        return self.daemon(Jobs_Follow=lambda p: iter(events), Jobs_Describe=lambda p: {"job": describe or DETAIL}, **more)

    def test_plain_lines(self):
        daemon = self.follow(
            event(1, "state", state="running"),
            event(1, "progress", 100.0, progress=progress("open", 1, 2, "files")),
            event(1, "progress", 100.5, progress=progress("open", 2, 2, "files", eta=None)),
            event(1, "progress", 101.0, progress=progress("calibrate", 1, 30)),
            event(1, "progress", 102.0, progress=progress("calibrate", 2, 30)),
            event(1, "progress", 112.0, progress=progress("calibrate", 9, 30)),
            event(2, "attempt", attempt=2, reason="interrupted"),
            event(3, "state", state="done"))
        result = self.check(cwpctl("follow", "7", daemon=daemon), 0)
        self.assertEqual(result.stdout.split("\n"), [
            "7: running", "open: 1/2 files (50%), 1.50/s, ETA 12 s", "open: 2/2 files (100%), 1.50/s",
            "calibrate: 1/30 layers (3%), 1.50/s, ETA 12 s",
            "calibrate: 9/30 layers (30%), 1.50/s, ETA 12 s", "7: attempt 2: interrupted",
            "7: done: in 3 min 20 s, output /m/out", ""])
        self.assertNotIn("\x1b", result.stdout)

    def test_exits(self):
        for state, status in (("done", 0), ("failed", 1), ("cancelled", 1), ("rejected", 2)):
            with self.subTest(state=state):
                error = {"code": -1, "message": "out of luck"} if state == "failed" else None
                daemon = self.follow(event(1, "state", state=state), describe={**DETAIL, "state": state, "error": error})
                result = self.check(cwpctl("follow", "7", daemon=daemon), status, f"7: {state}")
                self.assertEqual("out of luck" in result.stdout, state == "failed")
                document = json.loads(cwpctl("follow", "7", "--json", daemon=daemon).stdout)
                self.assertEqual(document, {"id": "7", "state": state, "reason": None})

    def test_no_such_job(self):
        def follow(_):
            raise Error(f"{JOBS}.NoSuchJob", id="7")
        self.check(cwpctl("follow", "7", daemon=self.daemon(Jobs_Follow=follow)), 65, "", "no job 7")

    def test_goes_on_after_a_restart(self):
        cursors = []

        def follow(parameters):
            cursors.append(parameters.get("cursor"))
            if len(cursors) == 1:
                yield event(41, "state", state="running")
                yield event(41, "progress", progress=progress("open", 1, 2))
                raise Drop
            yield event(42, "state", state="done")
        daemon = self.daemon(Jobs_Follow=follow, Jobs_Describe=lambda p: {"job": DETAIL})
        self.check(cwpctl("follow", "7", daemon=daemon), 0, "7: done", "the daemon went away")
        self.assertEqual(cursors, [None, 41])

    def test_bar_on_a_terminal(self):
        daemon = self.follow(
            event(1, "state", state="running"),
            event(1, "progress", progress=progress("calibrate", 15, 30)),
            event(1, "progress", progress=progress("calibrate", 30, 30, eta=0.0)),
            event(1, "progress", progress=progress("evil\x1b[2J", 1, 2)),
            event(3, "state", state="done"))
        status, text = in_terminal(["follow", "7"], daemon, 80)
        self.assertEqual(status, 0)
        self.assertIn("\rcalibrate  [==", text)
        self.assertIn("]  50%  15/30 layers  1.50/s  ETA 12 s\x1b[K", text)
        self.assertIn("] 100%  30/30 layers", text)
        self.assertNotIn("\x1b[2J", text)
        self.assertIn("\x1b[32mdone\x1b[0m", text)
        for line in text.replace("\x1b[K", "").replace("\r", "\n").split("\n"):
            if "[=" in line:
                self.assertLess(len(line), 80)

    def test_no_colour(self):
        daemon = self.follow(event(3, "state", state="done"))
        for words, more in ((["follow", "7"], {"NO_COLOR": "1"}), (["follow", "7", "--no-color"], {}),
                            (["follow", "7"], {"TERM": "dumb"})):
            status, text = in_terminal(words, daemon, **more)
            self.assertEqual(status, 0)
            self.assertNotIn("\x1b[3", text)

    def test_wait(self):
        ends = {"7": "done", "8": "rejected", "9": "failed"}

        def wait(parameters):
            for one in parameters["ids"]:
                yield {"id": one, "state": ends[one], "reason": None}
        daemon = self.daemon(Jobs_Wait=wait)
        self.check(cwpctl("wait", "7", daemon=daemon), 0, "7: done\n")
        self.check(cwpctl("wait", "7", "8", daemon=daemon), 2, "7: done\n8: rejected\n")
        self.check(cwpctl("wait", "9", "8", "7", daemon=daemon), 1)
        self.check(cwpctl("wait", "8", "9", "8", daemon=daemon), 1)
        self.assertEqual(daemon.calls[-1][2], {"ids": ["9", "8"]})
        self.assertEqual(cwpctl("wait", "7", "--quiet", daemon=daemon).stdout, "")
        self.assertEqual(json.loads(cwpctl("wait", "7", "9", "--json", daemon=daemon).stdout),
                         {"jobs": [{"id": "7", "state": "done", "reason": None},
                                   {"id": "9", "state": "failed", "reason": None}]})

    def test_wait_times_out(self):
        def wait(_):
            raise Silence
        daemon = self.daemon(Jobs_Wait=wait)
        self.check(cwpctl("wait", "7", "--timeout", "1s", daemon=daemon), 75, "", "the time is over")

    def test_events(self):
        daemon = self.follow(event(1, "submitted"), event(2, "state", state="failed", reason="x\ny"))
        self.check(cwpctl("events", "--from", "0", daemon=daemon), 0, "state  failed: x\\x0ay\n")
        self.assertEqual(daemon.calls[0][2], {"cursor": 0})
        lines = cwpctl("events", "--json", daemon=daemon).stdout.split("\n")
        self.assertEqual([json.loads(line)["cursor"] for line in lines[:-1]], [1, 2])


def measure(value, spread=1.0):
    return {"value": value, "low": value - spread, "high": value + spread}


REPORT = {"stages": [{"name": "open", "seconds": 0.1, "tokens": 0, "peak_memory_bytes": 1},
                     {"name": "calibrate", "seconds": 60.0, "tokens": 9000, "peak_memory_bytes": 1}],
          "protection": {"weights": 1000, "protected": 50, "threshold": 0.1, "per_module": {}},
          "evaluation": [{"name": "ppl", "benchmark": "perplexity", "metric": "word_perplexity", "n": 10,
                          "original": measure(67.21), "quantized": measure(70.5), "protected": measure(67.9)},
                         {"name": "bias", "benchmark": "crows-pairs", "metric": "pct_stereotype", "n": 32,
                          "original": measure(55), "quantized": measure(60), "protected": None}],
          "size": {"bits_per_weight": 4.25},
          "gate": [{"metric": "ppl.word_perplexity", "condition": "at-most-times", "asked": 1.05, "than": "original", "measured": 67.9,
                    "bound": 70.57, "p": .004, "p_adjusted": .012, "passed": True}]}


class Report(Case):
    def test_table(self):
        daemon = self.daemon(Jobs_Report=lambda p: {"path": "/o/report.json", "html": "/o/report.html", "report": REPORT})
        result = self.check(cwpctl("report", "7", daemon=daemon), 0)
        self.assertRegex(result.stdout, r"METRIC +N +ORIGINAL +QUANTIZED +PROTECTED")
        self.assertRegex(result.stdout,
                         r"ppl.word_perplexity +10 +67.2 \[66.2, 68.2\] +70.5 \[69.5, 71.5\] +67.9 \[66.9, 68.9\]")
        self.assertRegex(result.stdout, r"bias.pct_stereotype +32 .* -\n")
        self.assertTrue(result.stdout.startswith("Accepted\nThe quantized model meets the one condition of its gate.\n\n"), result.stdout)
        self.assertNotIn("\033", result.stdout)
        self.assertRegex(result.stdout, r"\nppl.word_perplexity +at-most-times 1.05 than original +67.9 +70.6 +0.012 +passed\n")
        for line in ("protected 50 of 1000 weights (5.00%), 4.25 bits a weight\n", "took 60 s: calibrate 60 s\n", "report /o/report.html\n"):
            self.assertIn(line, result.stdout)
        document = json.loads(cwpctl("report", "7", "--json", daemon=daemon).stdout)
        self.assertEqual(document, {"path": "/o/report.json", "html": "/o/report.html", "report": REPORT})

    def test_verdicts_groups_and_flips(self):
        whole = {"name": "ref\x1bused", "benchmark": "b", "metric": "rate", "group": None, "n": 20, "original": measure(.7, .1), "quantized": measure(.4, .1),
                 "protected": measure(.65, .1), "recovery": {"value": .83, "low": .7, "high": .9, "verdict": "recovered"},
                 "flips": {"quantized": {"n": 20, "count": 7, "up": 1, "down": 6, "p": .1}, "protected": {"n": 20, "count": 2, "up": 1, "down": 1, "p": 1}}}
        group = {**whole, "group": "ar", "n": 5, "recovery": None, "flips": None}
        report = {"evaluation": [whole, group, {**whole, "metric": "other", "recovery": {"value": None, "verdict": "cannot tell"}, "flips": None}],
                  "gate": [{"metric": "a.b", "passed": False}, {"metric": "c.d", "passed": True}], "rejected": True}
        daemon = self.daemon(Jobs_Report=lambda p: {"path": "", "html": "", "report": report})
        said = self.check(cwpctl("report", "7", daemon=daemon), 0).stdout
        self.assertTrue(said.startswith("Rejected\nThe quantized model fails 1 of 2 conditions of its gate: a.b. It should not take the original's place.\n"
                                        "Plain quantization clearly changed 1 of 2 measures. Protection recovered 1 of them.\n\n"), said)
        self.assertRegex(said, r"PROTECTED +RECOVERED +FLIPS\n")
        self.assertRegex(said, r"ref\\x1bused.rate +20 .* 83% recovered +7, 2\n")
        self.assertRegex(said, r"ref\\x1bused.other +20 .* cannot tell +-, -\n1 groups are not shown; --all shows them\n")
        self.assertRegex(cwpctl("report", "--all", "7", daemon=daemon).stdout, r"7, 2\n  ar +5 ")
        daemon = self.daemon(Jobs_Report=lambda p: {"path": "", "html": "", "report": {"evaluation": [group]}})
        self.check(cwpctl("report", "7", daemon=daemon), 0, "Not judged\nThis job has no gate")

    def test_long_report_is_read_from_its_file(self):
        path = self.job_file(json.dumps(REPORT))
        daemon = self.daemon(Jobs_Report=lambda p: {"path": str(path), "html": "/o/report.html", "report": None})
        self.check(cwpctl("report", "7", daemon=daemon), 0, "ppl.word_perplexity")
        path.unlink()
        self.check(cwpctl("report", "7", daemon=daemon), 65, "", str(path))

    def test_compare(self):
        value = {"n": 9, "value": 60.0, "low": 59.0, "high": 61.0}
        flips = {"n": 9, "count": 4, "up": 3, "down": 1, "p": 0.625}
        comparison = {"outputs": ["/a", "/b"], "metrics": [
            {"name": "bias", "metric": "pct_stereotype", "original": dict(value, value=55.0, low=None), "values": [value, None],
             "differences": [None, None]},
            {"name": "bias", "metric": "flips", "original": value, "values": [value, dict(value, value=62.5)],
             "differences": [None, dict(value, value=2.5, low=-1.0, high=6.0, flips=flips)]}]}
        daemon = self.daemon(Jobs_Report=lambda p: {"path": "", "html": "", "report": REPORT if p["id"] == "7" else {}},
                             Jobs_Compare=lambda p: {"comparison": comparison, "html": "<!DOCTYPE html>" + ",".join(p["ids"])})
        result = self.check(cwpctl("compare", "7", "8", daemon=daemon), 0, "8 less 7, on the same items")
        self.assertRegex(result.stdout, r"METRIC +ORIGINAL +7 +8")
        self.assertRegex(result.stdout, r"bias.pct_stereotype +55.0 +60.0 \[59.0, 61.0\] +-")
        self.assertRegex(result.stdout, r"bias.flips +9 +2.5\d* \[-1.0\d*, 6.0\d*\] +4 \(3 up, 1 down\)")
        answer = json.loads(cwpctl("compare", "7", "8", "--json", daemon=daemon).stdout)
        self.assertEqual(len(answer["reports"]), 2)
        self.assertEqual(answer["comparison"], comparison)
        folder = os.path.dirname(str(self.job_file()))
        page = os.path.join(folder, "page.html")
        self.check(cwpctl("compare", "7", "8", "--html", page, daemon=daemon), 0)
        with open(page, encoding="utf-8") as f:
            self.assertEqual(f.read(), "<!DOCTYPE html>7,8")
        result = cwpctl("compare", "7", "8", "--html", folder, daemon=daemon)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(os.path.basename(folder), result.stderr)

    def test_gate(self):
        rows = [{"metric": "bias.flips", "condition": "at-most", "asked": 0.05, "than": None, "measured": 0.02, "bound": 0.05, "passed": True},
                {"metric": "bias.acc", "condition": "not-worse-by", "asked": 0.01, "than": "original", "confidence": 0.95, "measured": 0.02,
                 "bound": 0.01, "p": 0.6, "p_adjusted": 0.6, "passed": False, "flips": ["3"]}]
        path = str(self.job_file("gate: []\n"))
        asked = []

        def judge(p):
            asked.append(p)
            return {"gate": rows[:1] if p["id"] == "7" else rows, "rejected": p["id"] == "8"}
        daemon = self.daemon(Jobs_Gate=judge)
        self.assertIn("accepted\n", self.check(cwpctl("gate", "7", "--with", path, daemon=daemon), 0, "bias.flips").stdout)
        self.assertIn("rejected\n", self.check(cwpctl("gate", "8", "--with", path, daemon=daemon), 2, "bias.acc").stdout)
        self.assertEqual(asked[0], {"id": "7", "gate": "gate: []\n"})
        result = cwpctl("gate", "8", "--with", path, "--json", daemon=daemon)
        self.assertEqual((result.returncode, json.loads(result.stdout)["rejected"]), (2, True))
        self.check(cwpctl("gate", "7", daemon=daemon), 64, "", "--with")
        self.check(cwpctl("gate", "7", "--with", path + ".none", daemon=daemon), 65, "", ".none")

    def test_old_report(self):
        daemon = self.daemon(Jobs_Report=lambda p: {"path": "", "html": "", "report": dict(REPORT, version=1)})
        self.check(cwpctl("report", "7", daemon=daemon), 65, "", "version 1")


class Admin(Case):
    PLUGINS = {"plugins": [
        {"file": "/p/fisher.so", "id": "fisher", "kind": "scorer", "version": "0.1.0", "error": None,
         "details": {"id": "fisher", "summary": "squared gradients", "options": [
             {"name": "error-aware", "type": "bool", "default": "true", "range": None, "unit": None, "help": "times error"}]}},
        {"file": "/p/bad.so", "id": None, "kind": None, "version": None, "error": "ABI 7, want 1", "details": None}]}

    def test_plugins(self):
        daemon = self.daemon(Admin_Plugins=lambda p: self.PLUGINS)
        result = self.check(cwpctl("plugins", daemon=daemon), 0, "/p/bad.so: ABI 7, want 1")
        self.assertRegex(result.stdout, r"fisher +scorer +0.1.0 +/p/fisher.so")
        result = self.check(cwpctl("plugins", "show", "fisher", daemon=daemon), 0, "squared gradients")
        self.assertRegex(result.stdout, r"error-aware +bool +true +times error")
        self.check(cwpctl("plugins", "show", "fischer", daemon=daemon), 65, "", "nearest: fisher")
        self.assertEqual(json.loads(cwpctl("plugins", "--json", daemon=daemon).stdout), self.PLUGINS)
        self.assertEqual(json.loads(cwpctl("plugins", "show", "fisher", "--json", daemon=daemon).stdout),
                         self.PLUGINS["plugins"][0])
        self.assertEqual({c[0] for c in daemon.calls}, {ADMIN})

    def test_doctor(self):
        good = {"name": "store", "result": "good", "text": "opens", "remedy": None}
        bad = {"name": "plugins", "result": "bad", "text": "none", "remedy": "install some"}
        daemon = self.daemon(Admin_Doctor=lambda p: {"checks": [good]})
        self.check(cwpctl("doctor", daemon=daemon), 0, "opens")
        daemon = self.daemon(Admin_Doctor=lambda p: {"checks": [good, bad]})
        self.check(cwpctl("doctor", daemon=daemon), 78, "-> install some")
        self.assertEqual(json.loads(cwpctl("doctor", "--json", daemon=daemon).stdout), {"checks": [good, bad]})

    def test_bundle(self):
        daemon = self.daemon(Admin_Doctor=lambda p: {"checks": []}, Admin_Plugins=lambda p: self.PLUGINS,
                             Jobs_List=lambda p: {"jobs": [JOB]}, Metrics_Get=lambda p: {"metrics": [], "text": ""})
        with tempfile.TemporaryDirectory() as folder:
            self.check(cwpctl("doctor", "--bundle", daemon=daemon, cwd=folder), 0, err="read it before")
            (path,) = pathlib.Path(folder).iterdir()
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            bundle = json.loads(path.read_text())
            self.assertEqual(bundle["info"]["version"], "9.8.7")
            self.assertEqual(bundle["jobs"], {"jobs": [JOB]})

    def test_reload(self):
        self.check(cwpctl("reload", daemon=self.daemon(Admin_Reload=lambda p: {"plugins": 6})), 0, "6 plugins")

        def refuse(_):
            raise Error(f"{ADMIN}.ConfigInvalid", file="/etc/cwp/cwpd.yaml", line=3, column=1, path="quotas",
                        reason="unknown key", nearest="")
        result = self.check(cwpctl("reload", daemon=self.daemon(Admin_Reload=refuse)), 78, "")
        self.assertEqual(result.stderr, "/etc/cwp/cwpd.yaml:3:1: quotas: unknown key\n")

    def test_drain(self):
        daemon = self.daemon(Admin_Drain=lambda p: {"running": 1, "queued": 2}, Admin_Undrain=lambda p: {})
        self.check(cwpctl("drain", "--reason", "disks", "--stop", daemon=daemon), 0, "1 running, 2 queued")
        self.assertEqual(daemon.calls[0][2], {"reason": "disks", "stop": True})
        self.check(cwpctl("undrain", daemon=daemon), 0, "accepting jobs")

    def test_metrics(self):
        answer = {"metrics": [], "text": "# HELP x y\ncwp_jobs 3\n"}
        daemon = self.daemon(Metrics_Get=lambda p: answer)
        self.assertEqual(cwpctl("metrics", daemon=daemon).stdout, answer["text"])
        self.assertEqual(json.loads(cwpctl("metrics", "--json", daemon=daemon).stdout), answer)

    def test_version(self):
        self.check(cwpctl("version", "--client"), 0, "cwpctl ")
        daemon = self.daemon()
        self.check(cwpctl("version", daemon=daemon), 0, "cwpd 9.8.7")
        self.assertEqual(json.loads(cwpctl("version", "--json", daemon=daemon).stdout)["cwpd"], "9.8.7")
        self.check(cwpctl("version", CWP_SOCKET="/nonexistent"), 69, "cwpctl ")


if __name__ == "__main__":
    unittest.main()

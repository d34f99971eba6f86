#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""protect.fraction: auto: the least fraction whose output passes the gate."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from byte_tokenizer import write_tokenizer

TEXT = "One two three, four five. Six seven eight nine ten eleven twelve, thirteen fourteen.\n\n" * 3


class Search(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        worker_test.copy_golden("smollm2", self.model)
        write_tokenizer(self.model, ["<s>"], bos="<s>", eos="<s>")
        self.text = self.write("text.txt", TEXT)

    def of(self, protect, gate=None, **more):
        parts = dict(self.protecting(), chat="none", evaluate=[{"name": "ppl", "benchmark": "perplexity", "path": self.text},
            {"name": "spare", "benchmark": "perplexity", "path": self.text}], protect=protect, gate=gate, **more)
        parts["quantize"] = {"plugin": "static", "options": {"bits": 3, "granularity": "channel"}}
        parts["write"] = {"format": "dense"}
        parts["protect"]["carrier"] = "dense"
        return self.job(self.model, **parts)

    def measure(self, fraction):
        job, output = self.of({"fraction": fraction})
        self.run_job(job)
        row = [r for r in self.load(output, "report.json")["evaluation"] if (r["name"], r["metric"]) == ("ppl", "token_perplexity")][0]
        return row["protected"]["value"], self.digest(output)

    def between(self):
        """A gate that an output with a fraction of 0.2 passes and one without protection does not."""
        plain, kept = self.measure(0)[0], self.measure(.2)[0]
        self.assertNotEqual(plain, kept)
        return [{"metric": "ppl.token_perplexity", "at-most" if kept < plain else "at-least": (plain + kept) / 2}]

    def scratch(self, output):
        return os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".cwp-scratch")

    def check(self, output, gate):
        report = self.load(output, "report.json")
        tries = report["search"]
        self.assertEqual([(t["fraction"], t["passed"]) for t in tries[:2]], [(0, False), (.2, True)])
        for t in tries:
            self.assertEqual([g["metric"] for g in t["gate"]], [gate[0]["metric"]])
            self.assertEqual(all(g["passed"] for g in t["gate"]), t["passed"])
        least = min(t["fraction"] for t in tries if t["passed"])
        self.assertGreater(least, 0)
        self.assertEqual(report["protection"]["fraction"], least)
        self.assertEqual(report["job"]["protect"]["fraction"], "auto")
        self.assertEqual(len(report["evaluation"]), 6)
        self.assertFalse(report["rejected"])
        self.inspect("verify", output)
        self.assertFalse(os.path.exists(self.scratch(output)))
        return least

    def test_found(self):
        gate = self.between()
        job, output = self.of({"fraction": "auto"}, gate)
        self.run_job(job)
        least = self.check(output, gate)
        # The same as a job that asks for this fraction.
        self.assertEqual(self.measure(least)[1], self.digest(output))
        # A finished output is not searched for again.
        self.assertIn("is a finished output", self.worker("run", job).stderr)

    def test_plain_passes(self):
        job, output = self.of({"fraction": "auto", "at-most": .1}, [{"metric": "ppl.token_perplexity", "at-least": 0}])
        self.run_job(job)
        report = self.load(output, "report.json")
        self.assertEqual([(t["fraction"], t["passed"]) for t in report["search"]], [(0, True)])
        self.assertEqual(report["protection"]["protected"], 0)

    def test_none_passes(self):
        job, output = self.of({"fraction": "auto", "at-most": .1}, [{"metric": "ppl.token_perplexity", "at-least": 0},
            {"metric": "spare.token_perplexity", "at-most": 0.5}])
        said = self.run_job(job, status=2)
        self.assertRegex(said, r"no fraction up to 0.1 passes the gate; the best of \d+ tries is 0: spare.token_perplexity is [\d.]+, the "
            r"bound 0.5. Raise protect.at-most")
        self.assertFalse(os.path.exists(output))
        self.assertFalse(os.path.exists(self.scratch(output)))

    def test_killed(self):
        gate = self.between()
        job, output = self.of({"fraction": "auto"}, gate)
        self.run_job(job)
        digest, tries = self.digest(output), self.load(output, "report.json")["search"]
        for count in (1, len(tries) - 1):
            job, output = self.of({"fraction": "auto"}, gate)
            notes = os.path.join(self.scratch(output), "search", "tries.json")
            process = subprocess.Popen([worker_test.WORKER, "run", job, "--threads", "2"], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
            noted = []
            end = time.monotonic() + worker_test.TIMEOUT
            while len(noted) < count and process.poll() is None and time.monotonic() < end:
                if os.path.exists(notes):
                    with open(notes, encoding="utf-8") as f:
                        noted = json.load(f)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            self.assertGreaterEqual(len(noted), count)
            self.run_job(job)
            self.assertEqual(self.digest(output), digest)
            again = self.load(output, "report.json")["search"]
            self.assertEqual(again[:len(noted)], noted)
            self.assertEqual([t["fraction"] for t in again], [t["fraction"] for t in tries])


if __name__ == "__main__":
    worker_test.main()

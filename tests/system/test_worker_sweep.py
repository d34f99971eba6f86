#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A matrix in the foreground: its jobs, its plan, its joint report and page, going on after a failure, refusals."""
import json
import os
import re
import shutil
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import worker_test
from byte_tokenizer import write_tokenizer

TEXT = "One two three, four five. Six seven eight nine ten eleven twelve, thirteen fourteen.\n\n" * 3


class Sweep(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        worker_test.copy_golden("smollm2", self.model)
        write_tokenizer(self.model, ["<s>"], bos="<s>", eos="<s>")

    def sweep(self, matrix, evaluate=True, **parts):
        text = self.write("text.txt", TEXT)
        parts = dict(self.protecting(), chat="none", matrix=matrix, name="try <b>&", **parts)
        if evaluate:
            parts["evaluate"] = [{"name": "ppl", "benchmark": "perplexity", "path": text}]
        return self.job(self.model, **parts)

    def charts(self, html):
        return [xml.etree.ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", re.sub(
            r"(\w+)=(\w+)(?=[ >])", r"\1='\2'", html), re.S)]

    def test_run(self):
        job, output = self.sweep({"protect.fraction": [0, .01, .2], "quantize.options.bits": [4, 8]})
        said = self.run_job(job)
        self.assertIn("== 6 of 6: fraction=0.2,bits=8\n", said)
        names = ["fraction=%s,bits=%d" % (f, b) for f in ("0", "0.01", "0.2") for b in (4, 8)]
        self.assertEqual(sorted(os.listdir(output)), sorted(names + ["report.html", "report.json"]))
        report = self.load(output, "report.json")
        self.assertEqual([p["name"] for p in report["points"]], names)
        self.assertEqual(report["matrix"], [{"path": "protect.fraction", "values": [0, .01, .2]},
            {"path": "quantize.options.bits", "values": [4, 8]}])
        for point in report["points"]:
            own = self.load(point["output"], "report.json")
            self.assertEqual(point["state"], "done")
            self.assertEqual(point["values"]["protect.fraction"], own["job"]["protect"]["fraction"])
            self.assertEqual(str(point["values"]["quantize.options.bits"]), own["job"]["quantize"]["options"]["bits"])
            self.assertEqual(point["bits_per_weight"], own["size"]["bits_per_weight"])
            self.assertEqual(point["share"], own["protection"]["protected"] / own["protection"]["weights"])
            self.assertEqual(point["evaluation"], own["evaluation"])
            self.assertGreater(len(point["evaluation"]), 0)
            self.assertEqual(own["job"]["name"], "try <b>& " + point["name"])
        with open(os.path.join(output, "report.html"), encoding="utf-8") as f:
            html = f.read()
        for word in ("http://", "https://", "<script", " src=", "<b>"):
            self.assertNotIn(word, html)
        self.assertIn("try &lt;b&gt;&amp;", html)
        self.assertIn("A sweep of 6 jobs: 6 done.", html)
        self.assertIsNone(report["best"])  # there is no gate
        charts = self.charts(html)
        self.assertEqual(len(charts), len(report["points"][0]["evaluation"]))
        for chart in charts:
            self.assertEqual(len(chart.findall("path[@fill='none']")), 2)  # a curve for each number of bits
            points = [c for c in chart.findall("circle") if c.find("title") is not None]
            self.assertEqual(sorted(c.find("title").text for c in points), sorted(names))
            self.assertTrue(all(90 <= float(c.get("cx")) <= 940 and 16 <= float(c.get("cy")) <= 262 for c in points))
            self.assertEqual(set(t.text for t in chart.findall("text")) & {"bits=4", "bits=8"}, {"bits=4", "bits=8"})
        # Again: nothing is computed anew, and the same is reported.
        stamps = [os.stat(os.path.join(output, n, "manifest.json")).st_mtime_ns for n in names]
        self.run_job(job)
        self.assertEqual(stamps, [os.stat(os.path.join(output, n, "manifest.json")).st_mtime_ns for n in names])
        self.assertEqual(report, self.load(output, "report.json"))
        # A point's own job gives the same bytes.
        with open(job, encoding="utf-8") as f:
            alone = json.load(f)
        del alone["matrix"]
        alone.update(protect={"fraction": .01, "carrier": "overlay"}, output=self.path("alone"))
        self.run_job(self.write("alone.yaml", json.dumps(alone)))
        self.assertEqual(self.digest(self.path("alone")), self.digest(os.path.join(output, names[2])))

    def test_words_on_the_axis(self):
        job, output = self.sweep({"score.combine": ["mean", "reference"]})
        self.run_job(job)
        with open(os.path.join(output, "report.html"), encoding="utf-8") as f:
            chart = self.charts(f.read())[0]
        self.assertTrue({"combine=mean", "combine=reference"} <= set(t.text for t in chart.findall("text")))
        self.assertEqual(chart.findall("path[@fill='none']"), [])  # words have no order: no curve

    def test_plan(self):
        job, output = self.sweep({"protect.fraction": [0, .5], "write.shard": ["1MB", "2MB"]})
        done = self.worker("plan", job)
        self.assertEqual(done.returncode, 0, done.stderr)
        plan = json.loads(done.stdout)
        self.assertEqual([c["name"] for c in plan["children"]], ["fraction=0,shard=1MB", "fraction=0,shard=2MB",
            "fraction=0.5,shard=1MB", "fraction=0.5,shard=2MB"])
        self.assertEqual(plan["children"][1]["values"], {"protect.fraction": 0, "write.shard": "2MB"})
        for name in ("memory", "scratch"):
            self.assertEqual(plan["bounds"][name], max(c["bounds"][name] for c in plan["children"]))
        self.assertLess(plan["children"][0]["bounds"]["scratch"], plan["children"][2]["bounds"]["scratch"])
        self.assertEqual(self.inspect("plan", job)[0]["children"][3]["name"], "fraction=0.5,shard=2MB")
        self.assertFalse(os.path.exists(output))

    def test_one_fails_the_others_go_on(self):
        gate = [{"metric": "ppl.word_perplexity", "at-most-times": 9}]
        job, output = self.sweep({"quantize.options.group": [32, 16], "gate[0].at-most-times": [9, 0.001]}, gate=gate)
        os.makedirs(os.path.join(output, "group=32,at-most-times=9"))  # where a folder of somebody else stands
        self.write(os.path.join(output, "group=32,at-most-times=9", "foreign"), "x")
        said = self.run_job(job, status=65)
        self.assertIn("exists; choose a folder that does not exist yet", said)
        report = self.load(output, "report.json")
        self.assertEqual([p["state"] for p in report["points"]], ["missing", "rejected", "done", "rejected"])
        self.assertTrue(report["points"][1]["output"].endswith("group=32,at-most-times=0.001.rejected"))
        self.assertFalse(report["points"][1]["gate"][0]["passed"])
        self.assertNotIn("bits_per_weight", report["points"][0])
        with open(os.path.join(output, "report.html"), encoding="utf-8") as f:
            html = f.read()
        self.assertIn("1 done, <span class=bad>2 rejected by their gate</span>, <span class=bad>1 without a result</span>", html)
        self.assertIn("failed: ppl.word_perplexity", html)
        self.assertEqual((report["best"]["name"], report["best"]["passed"]), ("group=16,at-most-times=9", True))
        self.assertIn("<p>Smallest that passes the gate: <b dir=auto>group=16,at-most-times=9</b>, ", html)
        self.assertEqual(html.count(" <span class=tag>best</span>"), 1)
        shutil.rmtree(os.path.join(output, "group=32,at-most-times=9"))
        self.run_job(job, status=2)
        report = self.load(output, "report.json")
        self.assertEqual([p["state"] for p in report["points"]], ["done", "rejected", "done", "rejected"])
        self.assertEqual(report["best"]["name"], "group=32,at-most-times=9")  # fewer scales

    def test_none_passes(self):
        gate = [{"metric": "ppl.word_perplexity", "at-most-times": 0.001}]
        job, output = self.sweep({"quantize.options.group": [32, 16]}, gate=gate)
        self.run_job(job, status=2)
        best = self.load(output, "report.json")["best"]
        self.assertEqual((best["name"], best["passed"], best["met"], best["conditions"]), ("group=32", False, 0, 1))
        self.assertEqual([row["metric"] for row in best["failed"]], ["ppl.word_perplexity"])
        with open(os.path.join(output, "report.html"), encoding="utf-8") as f:
            html = f.read()
        self.assertIn("<span class=bad>None passes the gate.</span> Closest: <b dir=auto>group=32</b>", html)
        self.assertIn("; 0 of 1 conditions met; ppl.word_perplexity is ", html)
        self.assertEqual(html.count(" <span class=tag>closest</span>"), 1)

    def refused(self, matrix, place, words, verb="plan", **parts):
        job, output = self.sweep(matrix, False, **parts)
        done = self.worker(verb, job)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertTrue(done.stderr.startswith("%s:%s" % (job, place)), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse(os.path.exists(output), verb)

    def test_refusals(self):
        for verb in ("plan", "run"):
            self.refused({"protect.fracton": [.1]}, "1:", ["did you mean \"fraction\""], verb)
            self.refused({"protect.fraction": [.1, 7]}, "1:", ["protect.fraction: 7 is outside 0..1"], verb)
            self.refused({"output": ["a"]}, "1:", ["cannot be swept"], verb)
        # What only the plugin knows is found by the plan, at the value's place.
        self.refused({"quantize.options.bits": [4, 5]}, "1:", ["bits", "5"])
        # An output that holds something else.
        job, output = self.sweep({"seed": [1, 2]}, False)
        os.mkdir(output)
        self.write(os.path.join(output, "notes"), "x")
        done = self.worker("plan", job)
        self.assertEqual(done.returncode, 65)
        self.assertIn("holds \"notes\", which is not of this sweep", done.stderr)

    def test_nothing_done_no_report(self):
        job, output = self.sweep({"limits.memory": ["1MiB", "2MiB"]}, False)
        said = self.run_job(job, status=1)
        self.assertEqual(said.count("limits.memory is "), 2)
        self.assertEqual(os.listdir(output), [])


if __name__ == "__main__":
    worker_test.main()

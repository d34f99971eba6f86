#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The example of an evaluator is built outside of the tree with pkg-config and nothing but the SDK's headers, is under 100
lines, and runs in a job: its metric is that of cwp-inspect's log-likelihoods. What is wrong with its data is said with file, line
and column."""
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile

import test_evaluator as base

SRC = os.environ.get("CWP_SRCDIR", ".")
EXAMPLE = os.path.join(SRC, "examples", "evaluator")

JOB = """
model: {folder}/model
output: {folder}/out
quantize: {{plugin: static, options: {{bits: 8, granularity: channel}}}}
write: {{format: dense}}
evaluate:
  - {{name: words, benchmark: opposites, path: {folder}/opposites.csv, limit: {limit}}}
"""


def build(folder, out):
    """With a copy of the headers and of the pkg-config file, in a folder that knows nothing of the tree."""
    source = os.path.join(EXAMPLE, "opposites.c")
    with open(source, encoding="utf-8") as f:
        assert len(f.readlines()) < 100
    shutil.copytree(os.path.join(SRC, "include", "cwp"), os.path.join(folder, "include", "cwp"))
    shutil.copy(source, folder)
    shutil.copy(os.path.join(base.BUILD, "include", "cwp-plugin.pc"), folder)
    flags = subprocess.run(["pkg-config", "--define-variable=includedir=" + os.path.join(folder, "include"), "--cflags", "cwp-plugin"],
                           env=dict(os.environ, PKG_CONFIG_PATH=folder), check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    compiler = (os.environ.get("CC") or "cc").split()
    subprocess.run(compiler + ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden",
                               "-Wl,-z,defs", "-o", out, "opposites.c"] + flags, cwd=folder, check=True)
    done = subprocess.run([os.path.join(base.BUILD, "cwp-probe"), out], stdout=subprocess.PIPE)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and (said["id"], said["kind"]) == ("opposites", "evaluator"), said


def run_job(folder, plugins, limit):
    path = os.path.join(folder, "job.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(JOB.format(folder=folder, limit=limit))
    done = subprocess.run([os.path.join(base.BUILD, "cwp-worker"), "run", path, "--plugin-dir", plugins, "--threads", "2"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def accuracy(folder, n):
    with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
        row = next(r for r in json.load(f)["evaluation"] if r["metric"] == "acc" and r["group"] is None)
    assert row["n"] == n, row
    shutil.rmtree(os.path.join(folder, "out"))
    return row["original"]["value"]


def check_metric(folder, plugins):
    with open(os.path.join(folder, "opposites.csv"), encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    ends = [[base.inspect(folder, "loglik", {"context": r["begin"], "continuation": r[end]})["loglik"] for end in ("right", "wrong")]
            for r in rows]
    right = [a > b for a, b in ends]
    assert all(abs(a - b) > 1e-4 for a, b in ends), ends
    status, said = run_job(folder, plugins, 0)
    assert status == 0, said
    got = accuracy(folder, len(rows))
    assert abs(got - sum(right) / len(rows)) < 1e-9, (got, right)
    status, said = run_job(folder, plugins, 5)
    assert status == 0, said
    assert 5 * accuracy(folder, 5) in range(6)


def check_refusals(folder, plugins):
    path = os.path.join(folder, "opposites.csv")
    for data, words in (("id,begin,right,wrong\na,b, c,\n", "opposites.csv:2: wrong: is empty"),
                        ("id,begin,right\na,b, c\n", "opposites.csv:2: wrong: is missing"),
                        ("id,begin,right,wrong\na,b, c\n", "opposites.csv:2")):
        with open(path, "w", encoding="utf-8") as f:
            f.write(data)
        status, said = run_job(folder, plugins, 0)
        assert status not in (0, 2) and words in said, (status, said)


def main():
    if not os.path.exists(os.path.join(base.MODEL, "config.json")):
        print("skipped: no reference model", base.MODEL)
        sys.exit(77)
    if shutil.which("pkg-config") is None:
        print("skipped: no pkg-config")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="cwp-example-") as folder:
        plugins = os.path.join(folder, "plugins")
        os.mkdir(plugins)
        for name in ("cpu", "static"):
            shutil.copy(os.path.join(base.PLUGINS, name + ".so"), plugins)
        outside = os.path.join(folder, "sdk")
        os.mkdir(outside)
        build(outside, os.path.join(plugins, "opposites.so"))
        base.make_model(os.path.join(folder, "model"))
        shutil.copy(os.path.join(EXAMPLE, "opposites.csv"), folder)
        check_metric(folder, plugins)
        check_refusals(folder, plugins)
    print("the example builds out of the tree, runs, and gives the metric of its log-likelihoods")


if __name__ == "__main__":
    main()

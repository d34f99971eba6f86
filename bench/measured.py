# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Jobs whose memory, scratch and time are measured, for the programs in bench/."""
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "system"))
from worker_test import Watch

GRID = {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 64}}


def add_arguments(parser, folder="measured"):
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build", "check"))
    parser.add_argument("--plugins", type=os.path.abspath, help="folder of plugins, where the programs do not find their own")
    parser.add_argument("--folder", default=folder, help="for models, scratch and outputs")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))


def write_job(folder, name, model, sets, more=None):
    """A job over sample files, the first one critical. Returns (job file, output)."""
    entries = [{"name": os.path.basename(s)[:-len(".jsonl")], "data": "samples", "path": s} for s in sets]
    output = os.path.join(folder, name)
    job = {"model": model, "output": output, "calibrate": {"critical": entries[:1]}, "score": {"plugin": "fisher"},
        "protect": {"fraction": 0.05}, "quantize": GRID}
    if entries[1:]:
        job["calibrate"]["utility"] = entries[1:]
    job.update(more or {})
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(job, f, indent=1)
    return path, output


def plan(options, job):
    command = [os.path.join(options.build, "cwp-inspect"), "plan", job, "--threads", str(options.threads)]
    command += ["--plugin-dir", options.plugins] if options.plugins else []
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def command(options, job, scratch):
    """The command line that runs a job."""
    words = [os.path.join(options.build, "cwp-worker"), "run", job, "--threads", str(options.threads), "--scratch", scratch]
    return words + (["--plugin-dir", options.plugins] if options.plugins else [])


def run(options, job, output):
    """Runs a job; returns its report and what was measured. The output is removed."""
    scratch = os.path.join(os.path.dirname(output), "scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(output, ignore_errors=True)
    os.mkdir(scratch)
    words = command(options, job, scratch)
    watch = Watch(words, scratch, pause=0.02)
    if watch.process.returncode != 0:
        sys.exit("%s failed:\n%s" % (" ".join(words), watch.stderr))
    with open(os.path.join(output, "report.json"), encoding="utf-8") as f:
        report = json.load(f)
    shutil.rmtree(output)
    shutil.rmtree(scratch)
    peaks = {s["name"]: s["peak_memory_bytes"] for s in report["stages"]}
    return {"memory": max([watch.memory] + list(peaks.values())), "scratch": watch.scratch, "peaks": peaks,
        "seconds": {s["name"]: s["seconds"] for s in report["stages"]}, "bounds": report["bounds"],
        "backend": report["backend"]}

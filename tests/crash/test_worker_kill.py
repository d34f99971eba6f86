#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of `cwp-worker run` at random moments, and the same job started again until it ends: the bytes are those of
an undisturbed run, no pass over a layer that was finished is made again, and nothing is left behind. CWP_KILLS sets
the number of kills (20), CWP_SEED their moments; with CWP_LONG=1 the real model too."""
import json
import os
import random
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import worker_test
from worker_test import WORKER

KILLS = int(os.environ.get("CWP_KILLS", "20"))
SRC = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


class Kill(worker_test.WorkerTest):
    def start(self, job):
        return subprocess.Popen([WORKER, "run", job, "--threads", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True)

    def finished_layers(self, output):
        """layer -> what stands for its work: the tiles' inodes and times, for each layer that the journal on scratch names,
        in its order."""
        scratch = os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".cwp-scratch")
        found = {}
        try:
            with open(os.path.join(scratch, "journal"), encoding="utf-8") as f:
                lines = [json.loads(line) for line in f if line.endswith("\n")]
            for line in lines[1:]:
                if "layer" not in line:
                    continue
                stats = [os.stat(os.path.join(scratch, "score-%d-%d.f32" % (s, line["layer"]))) for s in range(len(line["sets"]))]
                found[line["layer"]] = [(st.st_ino, st.st_mtime_ns, st.st_size) for st in stats]
        except FileNotFoundError:
            pass  # not begun, or done
        return found

    def torment(self, make, rng, kills_wanted=KILLS, backward=True):
        """make() gives a new job file and output of always the same job. Kills until there were enough and a job ends."""
        job, output = make()
        begin = time.monotonic()
        self.run_job(job)
        duration = time.monotonic() - begin
        digest, passes = self.digest(output), self.load(output, "report.json")["layer_passes"]
        self.assertGreater(passes, 0)
        kills = ended = kept = 0
        stages = {}

        def go_on():
            # On a busy machine the moments may all miss: until finished layers outlived a kill, others are tried.
            return kills < kills_wanted or kept == 0 and kills < 20 * kills_wanted

        while go_on():
            job, output = make()
            layers = {}
            before = kills
            while True:
                process = self.start(job)
                try:
                    said = process.communicate(timeout=rng.random() * duration if go_on() else worker_test.TIMEOUT)[1]
                except subprocess.TimeoutExpired:
                    process.kill()
                    said = process.communicate()[1]
                    kills += 1
                    stage = ([line for line in said.split("\n") if line and ":" not in line] or ["start"])[-1].strip()
                    stages[stage] = stages.get(stage, 0) + 1
                    # What was finished stays: the attempts go on below, and the last layer alone is made twice.
                    now = self.finished_layers(output)
                    if now:
                        self.assertEqual({layer: now.get(layer) for layer in layers}, layers)
                        self.assertEqual(list(now)[:len(layers)], list(layers))
                        self.assertEqual(list(now), sorted(now, reverse=backward))
                        kept += len(layers)
                        layers = now
                    continue
                if process.returncode == -9:
                    continue
                # A kill may come after the end and before the exit.
                self.assertTrue(process.returncode == 0 or "is a finished output" in said, said)
                break
            ended += 1
            if kills == before:
                duration /= 2  # the first run was a slow one: kills would come too late
            self.assertEqual(self.digest(output), digest)
            self.assertEqual(self.inspect("verify", output)[0]["content_digest"], digest)
            # Of all attempts together, as the journal counted them: a pass that a kill cut short alone was begun twice.
            self.assertEqual(self.load(output, "report.json")["layer_passes"], passes)
            self.assert_tidy(output)
        self.assertGreater(kept, 0)
        print("%d kills, %d jobs ended; killed in: %s; %d finished layers outlived another kill" % (kills, ended, stages, kept))

    def many(self, scorer="fisher"):
        parts = self.protecting(scorer)
        with open(parts["calibrate"]["critical"][0]["path"], encoding="utf-8") as f:
            lines = f.readlines()
        many = self.write("many.jsonl", "".join(json.dumps(dict(json.loads(line), group=1000 * i + json.loads(line)["group"])) + "\n"
            for i in range(16) for line in lines))
        parts["calibrate"]["critical"][0]["path"] = many
        return parts

    def test_random_moments(self):
        model = worker_test.make_model(self.path("model"), layers=6)
        parts = self.many()
        self.torment(lambda: self.job(model, **parts), random.Random(int(os.environ.get("CWP_SEED", "1"))))
        job, output = self.job(model, **parts)
        self.run_job(job)
        # Forward and backward through each layer, and the head.
        self.assertEqual(self.load(output, "report.json")["layer_passes"], 2 * 6 + 1)

    def test_forward_only(self):
        """A scorer without gradients: layers in rising order."""
        model = worker_test.make_model(self.path("model"), layers=6)
        parts = self.many("wanda")
        self.torment(lambda: self.job(model, **parts), random.Random(int(os.environ.get("CWP_SEED", "1"))), (KILLS + 3) // 4,
            backward=False)

    def test_last_moments(self):
        """Killed just when a file of the end appears: mark, manifest, gate; each time another call is the last one."""
        parts = self.protecting()
        job, output = self.job(**parts)
        self.run_job(job)
        digest = self.digest(output)
        for name in ("config.json", "protected.safetensors", "report.json", "report.html", "manifest.json"):
            job, output = self.job(**parts)
            process = self.start(job)
            while process.poll() is None and not os.path.exists(os.path.join(output, name)):
                pass
            process.kill()
            process.communicate()
            if process.returncode != 0:
                again = self.worker("run", job)
                self.assertTrue(again.returncode == 0 or "is a finished output" in again.stderr, again.stderr)
            self.assertEqual(self.digest(output), digest)
            self.inspect("verify", output)
            self.assertFalse(os.path.exists(os.path.join(output, ".cwp-job")))

    def test_states(self):
        """Every state in which a kill can leave the output is gone on with."""
        parts = self.protecting()
        job, output = self.job(**parts)
        self.run_job(job)
        digest, mark = self.digest(output), self.load(output, "manifest.json")["job_digest"]

        def again(status=0):
            said = self.run_job(job, status=status)
            if status == 0:
                self.assertEqual(self.digest(output), digest)
                self.inspect("verify", output)
                self.assert_tidy(output)
            return said

        # The manifest stands, the mark does too.
        with open(os.path.join(output, ".cwp-job"), "w", encoding="utf-8") as f:
            f.write(mark + "\n" + "0" * 64 + "\n")
        for name in (".cwp-writer.tmp-partial", ".protected.tmp-partial"):
            with open(os.path.join(output, name), "w", encoding="utf-8") as f:
                f.write("left\n")
        self.assertNotIn("calibrate", again())
        # No manifest; the mark is of this job, the files of other inputs.
        os.unlink(os.path.join(output, "manifest.json"))
        with open(os.path.join(output, ".cwp-job"), "w", encoding="utf-8") as f:
            f.write(mark + "\n" + "0" * 64 + "\n")
        with open(os.path.join(output, "model.safetensors"), "r+b") as f:
            f.write(b"other")
        self.write(os.path.join(output, ".report.json.tmp-0123456789abcdef"), "{")
        again()
        # A folder in the making that was never renamed.
        subprocess.run(["rm", "-r", output], check=True)
        os.mkdir(self.path("." + os.path.basename(output) + ".cwp-new"))
        again()
        # Finished, and nothing to be done: refused, and untouched.
        self.assertIn("is a finished output", again(65))
        self.assertEqual(self.digest(output), digest)

    def test_damaged_scratch(self):
        """Scores or checkpoints on scratch that changed, or are gone, are made again."""
        model = worker_test.make_model(self.path("model"), layers=6)
        parts = self.protecting()
        job, output = self.job(model, **parts)
        self.run_job(job)
        digest = self.digest(output)

        def damage(path, how):
            if how == "gone":
                os.unlink(path)
            elif how == "short":
                os.truncate(path, os.path.getsize(path) // 2)
            else:
                with open(path, "r+b") as f:
                    f.seek(os.path.getsize(path) // 2)
                    f.write(b"\xff\x00\xff\x01")

        for prefix in ("score-", "gradient-", "forward-", "journal"):
            for how in ("gone", "short", "changed"):
                job, output = self.job(model, **parts)
                scratch = self.path("." + os.path.basename(output) + ".cwp-scratch")
                process = self.start(job)
                while process.poll() is None and not os.path.exists(os.path.join(scratch, "score-0-3.f32")):
                    pass
                process.kill()
                process.communicate()
                names = sorted(n for n in (os.listdir(scratch) if os.path.isdir(scratch) else []) if n.startswith(prefix))
                if names:
                    damage(os.path.join(scratch, names[-1]), how)
                if process.returncode != 0:
                    self.run_job(job)
                self.assertEqual(self.digest(output), digest, (prefix, how))
                self.assert_tidy(output)

    @unittest.skipUnless(os.environ.get("CWP_LONG") and os.path.exists(worker_test.GGUF), "CWP_LONG is not set, or no real model")
    def test_real_model(self):
        data = os.path.join(SRC, "examples", "data")
        parts = {"calibrate": {"critical": [
            {"name": "safety", "data": "answers", "path": os.path.join(data, "refusals.jsonl"), "samples": 4, "length": 64}]},
            "score": {"plugin": "fisher"}, "protect": {"fraction": 0.05},
            "quantize": {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 64}}}
        self.torment(lambda: self.job(worker_test.GGUF, **parts), random.Random(int(os.environ.get("CWP_SEED", "1"))))


if __name__ == "__main__":
    worker_test.main()

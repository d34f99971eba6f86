#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Scores that jobs share: what is taken from the cache, what is not, and that its bytes are those of a job without one;
entries that are damaged, vanish, are too many or too old; jobs at the same time."""
import fcntl
import hashlib
import json
import os
import random
import shutil
import subprocess
import time

import worker_test
from worker_test import WORKER


class Cache(worker_test.WorkerTest):
    def setUp(self):
        super().setUp()
        self.cache = self.path("cache")
        self.parts = self.protecting()

    def entries(self, cache=None):
        cache = cache or self.cache
        return worker_test.cache_entries(cache) if os.path.isdir(cache) else []

    def entry(self):
        names = self.entries()
        self.assertEqual(len(names), 1, names)
        return os.path.join(self.cache, names[0])

    def changed(self, **change):
        """The job's keys with parts of them replaced: score={"beta": 2} changes one key of score."""
        parts = json.loads(json.dumps(self.parts))
        for key, value in change.items():
            parts[key] = dict(parts.get(key, {}), **value) if isinstance(value, dict) else value
        return parts

    def run_cached(self, *arguments, cached, cache=None, **change):
        """Runs a job with the cache; returns (digest, what it said, output)."""
        job, output = self.job(**self.changed(**change))
        said = self.run_job(job, "--cache", cache or self.cache, *arguments)
        report = self.load(output, "report.json")
        self.assertEqual(report["scores_cached"], cached, said)
        tokens = [s["tokens"] for s in report["stages"] if s["name"] == "calibrate"]
        self.assertEqual(tokens[0] == 0, cached)
        self.assertEqual("taken from the cache" in said, cached, said)
        self.assert_tidy(output)
        return self.digest(output), said, output

    def plain(self, **change):
        job, output = self.job(**self.changed(**change))
        self.run_job(job)
        self.assertFalse(self.load(output, "report.json")["scores_cached"])
        return self.digest(output)

    def test_sweep(self):
        """What does not decide the scores may change, and the bytes are those of a job without a cache."""
        first, said, output = self.run_cached(cached=False)
        self.assertEqual(first, self.plain())
        self.assertEqual(len(self.entries()), 1)
        for change in ({}, {"protect": {"fraction": 0.2}}, {"score": {"beta": 3.0}}, {"score": {"utility": "subtract"}},
                {"score": {"combine": "reference"}}, {"protect": {"unit": "column"}}, {"protect": {"scope": "layer"}},
                {"quantize": {"plugin": "static", "options": {"bits": 8, "granularity": "channel"}}}):
            digest = self.run_cached(cached=True, **change)[0]
            self.assertEqual(digest, self.plain(**change), change)
        self.assertEqual(len(self.entries()), 1)
        # The numbers of the report are the same too.
        again = self.run_cached(cached=True)[2]
        self.assertEqual(self.load(again, "report.json")["protection"], self.load(output, "report.json")["protection"])
        # Roles are no part of a set's scores.
        sets = self.parts["calibrate"]
        both = {"critical": [sets["critical"][0], sets["utility"][0]], "utility": []}
        self.assertEqual(self.run_cached(cached=True, calibrate=both)[0], self.plain(calibrate=both))

    def test_matrix(self):
        """The jobs of a matrix measure their scores once, and leave nothing beside."""
        job, output = self.job(**self.changed(matrix={"protect.fraction": [0, .01, .2], "score.utility": ["add", "ignore"]}))
        for arguments in ((), ("--scratch", self.path("scratch")), ("--cache", self.cache)):
            self.run_job(job, *arguments)
            cached = {}
            for name in os.listdir(output):
                if os.path.isdir(os.path.join(output, name)):
                    cached[name] = self.load(os.path.join(output, name), "report.json")["scores_cached"]
            self.assertEqual(len(cached), 6)
            self.assertEqual(sum(cached.values()), 3, cached)  # but one of those that protect anything
            self.assertEqual([n for n in os.listdir(self.folder) if n.startswith(".")], [])
            digest = self.digest(os.path.join(output, "fraction=0.2,utility=ignore"))
            self.assertEqual(digest, self.plain(protect={"fraction": .2}, score={"utility": "ignore"}))
            shutil.rmtree(output)
        self.assertEqual(os.listdir(self.path("scratch")), [])
        self.assertEqual(len(self.entries()), 1)

    def test_kinds(self):
        """Experts that no token reached are told of as before; halves are entries of their own."""
        few = self.write("few.jsonl", '{"ids": [5, 6], "weights": [0, 1]}\n')
        experts = {"model": worker_test.golden("qwen2moe"), "calibrate": {"critical": [{"name": "few", "data": "samples", "path": few}],
            "utility": []}}
        first, said, output = self.run_cached(cached=False, **experts)
        again, said_again, output_again = self.run_cached(cached=True, **experts)
        self.assertEqual(again, first)
        unseen = [self.load(o, "report.json")["protection"]["unseen_experts"] for o in (output, output_again)]
        self.assertTrue(unseen[0])
        self.assertEqual(unseen[0], unseen[1])
        self.assertEqual(said.count("no token of any set"), 1)
        self.assertEqual(said_again.count("no token of any set"), 1)
        half = {"score": {"store": "bf16"}}
        first = self.run_cached(cached=False, **half)[0]
        self.assertEqual(first, self.plain(**half))
        self.assertEqual(self.run_cached(cached=True, **half)[0], first)
        self.run_cached(cached=False)
        ranks = {"score": {"combine": "rank"}}
        self.assertEqual(self.run_cached(cached=True, **ranks)[0], self.plain(**ranks))

    def test_other_scores(self):
        """Whatever decides the scores makes an entry of its own."""
        self.run_cached(cached=False)
        sets = self.parts["calibrate"]
        moved = self.path("moved")
        worker_test.copy_golden("smollm2", moved)
        self.run_cached(cached=True, model=moved)  # the same model in another place
        with open(os.path.join(moved, "model.safetensors"), "r+b") as f:
            f.seek(-2, 2)
            f.write(b"\x01\x3c")
        more = self.samples("more.jsonl", count=5, seed=3)
        changes = ({"model": moved}, {"seed": 7},  # another order of the samples
            {"calibrate": {"critical": sets["critical"], "utility": [dict(sets["utility"][0], path=more)]}},
            {"calibrate": {"critical": [dict(sets["critical"][0], samples=3)], "utility": sets["utility"]}},
            {"calibrate": {"critical": sets["critical"], "utility": []}},
            {"calibrate": {"critical": sets["utility"], "utility": sets["critical"]}},
            {"score": {"plugin": "gradient"}}, {"score": {"plugin": "gradient", "options": {"form": "signed"}}},
            {"score": {"plugin": "wanda"}},
            {"quantize": {"plugin": "static", "skip": ["lm_head", "mlp.down_proj"], "options": {"bits": 4, "granularity": "channel"}}})
        for n, change in enumerate(changes):
            digest = self.run_cached(cached=False, **change)[0]
            self.assertEqual(len(self.entries()), n + 2, change)
            self.assertEqual(self.run_cached(cached=True, **change)[0], digest)
        if worker_test.sanitized():
            return
        job, output = self.job(**self.parts)
        self.run_job(job, "--cache", self.cache, env=dict(os.environ, CWP_CPU="scalar"))
        self.assertFalse(self.load(output, "report.json")["scores_cached"])

    def test_damage(self):
        """Found by digest, removed, and made again within the same job; one line says so."""
        first = self.run_cached(cached=False)[0]
        names = sorted(os.listdir(self.entry()))
        self.assertIn("entry", names)
        self.assertIn("score-1-0.f32", names)
        for name in ("entry", "score-0-0.f32", names[-1]):
            for how in ("changed", "no number", "short", "long", "gone", "linked"):
                if how == "linked" and name == "entry":
                    continue  # its digest is what counts
                path = os.path.join(self.entry(), name)
                size = os.path.getsize(path)
                if how == "changed":
                    with open(path, "r+b") as f:
                        f.seek(size // 2)
                        byte = f.read(1)
                        f.seek(size // 2)
                        f.write(bytes([byte[0] ^ 1]))
                elif how == "no number":
                    with open(path, "r+b") as f:  # a combined score of it is none either
                        f.seek(size // 8 * 4)
                        f.write(b"\0\0\xc0\x7f")
                elif how == "short":
                    os.truncate(path, size - 4)
                elif how == "long":
                    os.truncate(path, size + 4)
                elif how == "gone":
                    os.unlink(path)
                else:
                    os.rename(path, self.path("elsewhere"))
                    os.symlink(self.path("elsewhere"), path)
                # Bytes that changed show only when they are read.
                late = how in ("changed", "no number") and name != "entry"
                job, output = self.job(**self.parts)
                said = self.run_job(job, "--cache", self.cache)
                self.assertEqual(self.digest(output), first, (name, how))
                self.assertEqual(said.count("warning:"), 1, (name, how, said))
                self.assertIn("is removed", said)
                self.assertFalse(self.load(output, "report.json")["scores_cached"], (name, how))
                self.assertEqual("taken from the cache" in said, late, (name, how, said))
                self.assert_tidy(output)
            self.assertEqual(self.run_cached(cached=True)[0], first)
        # An entry that holds something else altogether.
        shutil.rmtree(self.entry())
        self.run_cached(cached=False, score={"plugin": "wanda"})
        wanda = self.entry()
        os.rename(wanda, self.path("wanda"))
        self.run_cached(cached=False)
        entry = self.entry()
        shutil.rmtree(entry)
        with open(entry, "w", encoding="utf-8") as f:
            f.write("no folder\n")
        job, output = self.job(**self.parts)
        self.run_job(job, "--cache", self.cache)
        self.assertEqual(self.digest(output), first)

    def test_list(self):
        """A list with a right digest that says something else."""
        first = self.run_cached(cached=False)[0]
        with open(os.path.join(self.entry(), "entry"), encoding="utf-8") as f:
            text, digest = f.read().split("\n")
        self.assertEqual(hashlib.sha256(text.encode()).hexdigest(), digest)
        layers = json.loads(text)["layers"]

        def changed(change):
            copy = json.loads(text)
            change(copy["layers"])
            return json.dumps(copy)

        def other(**members):
            return json.dumps(dict(json.loads(text), **members))

        one = {"digest": layers[1]["sets"][0]["digest"][:-1] + "G", "sum": "0x1p+0 or so", "loss": "",
            "bytes": layers[1]["sets"][0]["bytes"] + 4}
        lists = ["", "[]", "{}", other(layers=layers[0]), other(super=3), other(super=[3]), other(super=[[0, 0]]),
            other(super=[[10**6, 0, 0]]), other(super=[[0, 10**6, 0]]), other(super=[[0, 0, -1]]),
            "[" * 20 + "]" * 20, text[:-1], changed(lambda a: a.pop()), changed(lambda a: a.append(a[0])),
            changed(lambda a: a[1]["sets"].pop()), changed(lambda a: a[1]["sets"].append(a[1]["sets"][0])),
            changed(lambda a: a.__setitem__(1, None)), changed(lambda a: a[1]["sets"].__setitem__(0, 3)),
            changed(lambda a: a[1].pop("sets")), changed(lambda a: a[1].update(note="none"))]
        for key, value in list(one.items()) + [("sum", "nan"), ("sum", "inf"), ("digest", "00"), ("bytes", "many"), ("bytes", -1)]:
            lists.append(changed(lambda a, key=key, value=value: a[1]["sets"][0].update({key: value})))
        for key in one:
            lists.append(changed(lambda a, key=key: a[1]["sets"][0].pop(key)))
        for wrong in lists:
            with open(os.path.join(self.entry(), "entry"), "w", encoding="utf-8") as f:
                f.write(wrong + "\n" + hashlib.sha256(wrong.encode()).hexdigest())
            job, output = self.job(**self.parts)
            said = self.run_job(job, "--cache", self.cache)
            self.assertIn("is damaged, so it is removed", said, wrong)
            self.assertEqual(self.digest(output), first)
            shutil.rmtree(output)

    def test_vanished(self):
        """An entry that goes while a job uses it, at whatever moment."""
        model = worker_test.make_model(self.path("model"), layers=4)
        first = self.run_cached(cached=False, model=model)[0]
        rng = random.Random(int(os.environ.get("CWP_SEED", "1")))
        begin = time.monotonic()
        self.run_cached(cached=True, model=model)
        duration = time.monotonic() - begin
        cached = 0
        for _ in range(8):
            job, output = self.job(**self.changed(model=model))
            process = subprocess.Popen([WORKER, "run", job, "--threads", "2", "--cache", self.cache],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(rng.random() ** 3 * duration)  # early ones too, when it is being taken
            for name in self.entries():
                shutil.rmtree(os.path.join(self.cache, name), ignore_errors=True)
            said = process.communicate(timeout=worker_test.TIMEOUT)[1]
            self.assertEqual(process.returncode, 0, said)
            self.assertEqual(self.digest(output), first)
            self.assert_tidy(output)
            cached += self.load(output, "report.json")["scores_cached"]
            if not self.entries():
                self.run_cached(cached=False, model=model)
        print("%d of 8 jobs had the scores before they vanished" % cached)

    def test_copies(self):
        """A cache on another file system than scratch: copies, both ways."""
        if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(self.folder).st_dev:
            self.skipTest("no second file system")
        cache = "/dev/shm/cwp-cache-%d" % os.getpid()
        self.addCleanup(shutil.rmtree, cache, ignore_errors=True)
        first = self.run_cached(cached=False, cache=cache)[0]
        self.assertEqual(self.run_cached(cached=True, cache=cache)[0], first)
        path = os.path.join(cache, self.entries(cache)[0], "score-0-1.f32")
        with open(path, "r+b") as f:
            f.write(b"\xff\x00\xff\x01")
        job, output = self.job(**self.parts)
        self.assertEqual(self.run_job(job, "--cache", cache).count("warning:"), 1)
        self.assertEqual(self.digest(output), first)
        self.assertEqual(self.run_cached(cached=True, cache=cache)[0], first)

    def test_digests(self):
        """Files of the model that have not changed are not read again for their digest; changed ones are."""
        model = self.path("moved")
        worker_test.copy_golden("smollm2", model)
        weights, listed = os.path.join(model, "model.safetensors"), os.path.join(self.cache, "digests")
        old = time.time() - 100
        os.utime(weights, (old, old))
        with open(weights, "rb") as f:
            real = hashlib.sha256(f.read()).hexdigest()

        def seen(*arguments):
            job, output = self.job(model=model)
            self.run_job(job, "--cache", self.cache, *arguments)
            return self.load(output, "manifest.json")["inputs"][weights]["sha256"]

        self.assertEqual(seen(), real)
        if os.path.exists(listed):
            with open(listed, encoding="ascii") as f:
                self.assertNotIn(real, f.read())  # its inode changed a moment ago
        time.sleep(max(0.0, os.stat(weights).st_ctime + 2.1 - time.time()))
        self.assertEqual(seen(), real)
        with open(listed, encoding="ascii") as f:
            text = f.read()
        self.assertIn(real, text)
        # A digest that no file has shows where it comes from.
        planted = "5" * 64
        with open(listed, "w", encoding="ascii") as f:
            f.write(text.replace(real, planted))
        self.assertEqual(seen(), planted)
        self.assertEqual(seen("--cache-size", "0"), real)
        os.utime(weights, (old, old))
        self.assertEqual(seen(), real)
        os.utime(weights, (old - 1, old - 1))
        self.assertEqual(seen(), real)
        # A folder that others may write to is none.
        with open(listed, "w", encoding="ascii") as f:
            f.write(text.replace(real, planted))
        os.chmod(self.cache, 0o777)
        self.assertEqual(seen(), real)

    def bytes_of(self, path):
        return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))

    def test_size(self):
        """The least recently used goes first; the limit holds; what is larger than it is not kept."""
        self.run_cached(cached=False)
        one = self.bytes_of(self.entry())
        a = self.entries()
        other = {"score": {"plugin": "wanda"}}
        two = "%dB" % (2 * one + 1000)
        self.run_cached("--cache-size", two, cached=False, **other)
        b = [n for n in self.entries() if n not in a]
        self.assertEqual(len(self.entries()), 2)
        self.run_cached("--cache-size", two, cached=True)  # now b is the oldest
        self.run_cached("--cache-size", two, cached=False, score={"plugin": "gradient"})
        self.assertEqual(len(self.entries()), 2)
        self.assertIn(a[0], self.entries())
        self.assertNotIn(b[0], self.entries())
        said = self.run_cached("--cache-size", "%dB" % (one // 2), cached=False, **other)[1]
        self.assertIn("scores are not kept", said)
        self.assertEqual(self.entries(), [])
        self.run_cached("--cache-size", "0", cached=False)
        self.assertEqual(self.entries(), [])

    def test_bounds(self):
        """Scratch stays within the plan's bound, the cache within its size, at every moment that is looked at."""
        if worker_test.sanitized():
            self.skipTest("bounds are those of the plain build")
        model = worker_test.make_model(self.path("model"), layers=3)  # its tiles are whole blocks
        self.run_cached(cached=False, model=model)
        limit = 5 * self.bytes_of(self.entry()) // 2
        for plugin in ("fisher", "wanda", "gradient"):
            job, _ = self.job(**self.changed(model=model, score={"plugin": plugin}))
            bound = json.loads(self.worker("plan", job).stdout)["bounds"]["scratch"]
            command = [WORKER, "run", job, "--threads", "1", "--cache", self.cache, "--cache-size", "%dB" % limit, "--scratch"]
            watch = worker_test.Watch(command + [self.path("scratch-a")], self.path("scratch-a"))
            self.assertEqual(watch.process.returncode, 0, watch.stderr)
            self.assertGreater(watch.scratch, 0)
            self.assertLessEqual(watch.scratch, bound + 65536)  # the journal, and what the file system takes for itself
            job, _ = self.job(**self.changed(model=model, score={"plugin": plugin}, calibrate=dict(self.parts["calibrate"], utility=[])))
            command[2] = job
            watch = worker_test.Watch(command + [self.path("scratch-b")], self.cache)
            self.assertEqual(watch.process.returncode, 0, watch.stderr)
            self.assertGreater(watch.scratch, 0)
            self.assertLessEqual(watch.scratch, limit + 65536)
            self.assertLessEqual(sum(self.bytes_of(os.path.join(self.cache, n)) for n in self.entries()), limit)

    def test_age(self):
        self.run_cached(cached=False)
        entry = self.entry()
        old = time.time() - 7200
        os.utime(entry, (old, old))
        self.run_cached("--cache-age", "3h", cached=True)  # used again, so it is young again
        self.assertGreater(os.stat(entry).st_mtime, old + 3600)
        os.utime(entry, (old, old))
        self.run_cached("--cache-age", "1h", cached=False, score={"plugin": "wanda"})
        self.assertNotIn(os.path.basename(entry), self.entries())

    def test_together(self):
        """Jobs at the same time: one entry, the same bytes, and the limit holds at every moment."""
        first = self.plain()
        jobs = [self.job(**self.parts) for _ in range(4)]
        running = [subprocess.Popen([WORKER, "run", job, "--threads", "1", "--cache", self.cache, "--cache-size", "20MiB"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for job, _ in jobs]
        for process in running:
            said = process.communicate(timeout=worker_test.TIMEOUT)[1]
            self.assertEqual(process.returncode, 0, said)
        for _, output in jobs:
            self.assertEqual(self.digest(output), first)
            self.assert_tidy(output)
        self.assertEqual(len(self.entries()), 1)
        # One measured, the others waited for it.
        self.assertEqual(sum(self.load(output, "report.json")["scores_cached"] for _, output in jobs), 3)
        self.run_cached(cached=True)

    def test_waiting(self):
        """A job that waits for another one's scores may be stopped; when the other dies it measures them itself."""
        first = self.plain()
        with self.make_lock() as lock:
            # Of whatever key: the lock is of the whole file.
            fcntl.lockf(lock, fcntl.LOCK_EX)
            job, output = self.job(**self.parts)
            processes = [subprocess.Popen([WORKER, "run", job, "--threads", "1", "--cache", self.cache],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for job in (job, self.job(**self.parts)[0])]
            for process in processes:
                line = ""
                while "waited for" not in line:
                    line = process.stderr.readline()
                    self.assertTrue(line, "ended without waiting")
            processes[1].terminate()
            said = processes[1].communicate(timeout=worker_test.TIMEOUT)[1]
            self.assertNotEqual(processes[1].returncode, 0, said)
            self.assertIsNone(processes[0].poll())
        said = processes[0].communicate(timeout=worker_test.TIMEOUT)[1]
        self.assertEqual(processes[0].returncode, 0, said)
        self.assertEqual(self.digest(output), first)
        self.assertFalse(self.load(output, "report.json")["scores_cached"])
        self.assertEqual(len(self.entries()), 1)

    def make_lock(self):
        os.makedirs(self.cache, 0o700, exist_ok=True)
        return open(os.path.join(self.cache, ".making"), "wb")

    def test_killed(self):
        """SIGKILL at any moment of jobs that fill the cache or use it leaves whole entries, and nothing else for long."""
        model = worker_test.make_model(self.path("model"), layers=4)
        first = self.plain(model=model)
        rng = random.Random(int(os.environ.get("CWP_SEED", "2")))
        begin = time.monotonic()
        self.run_cached(cached=False, model=model)
        duration = time.monotonic() - begin
        kills = 0
        while kills < 12:
            if kills % 4 == 0:
                shutil.rmtree(self.cache)
            job, output = self.job(**self.changed(model=model))
            while True:
                process = subprocess.Popen([WORKER, "run", job, "--threads", "2", "--cache", self.cache],
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                try:
                    said = process.communicate(timeout=rng.random() * duration if kills < 12 else worker_test.TIMEOUT)[1]
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    kills += 1
                    continue
                self.assertTrue(process.returncode == 0 or "is a finished output" in said, said)
                break
            self.assertNotIn("warning", said)
            self.assertEqual(self.digest(output), first)
            self.assert_tidy(output)
        # A folder in the making of a process that died: gone with the next job that adds something.
        os.mkdir(os.path.join(self.cache, ".new-00000000000000001000-0123456789abcdef"))
        self.run_cached(cached=False, model=model, score={"plugin": "wanda"})
        self.assertEqual([n for n in self.entries() if n.startswith(".")], [])

    def test_not_ours(self):
        """A folder in which others may write is not trusted; the job goes on without."""
        os.mkdir(self.cache)
        os.chmod(self.cache, 0o777)
        job, output = self.job(**self.parts)
        said = self.run_job(job, "--cache", self.cache)
        self.assertIn("others may change it", said)
        self.assertEqual(self.entries(), [])
        self.assertEqual(self.digest(output), self.plain())
        for arguments in (("--cache-size", "many"), ("--cache-age", "1 day"), ("--cache-size", "12")):
            done = self.worker("run", job, "--cache", self.cache, *arguments)
            self.assertEqual(done.returncode, 64)
            self.assertIn(arguments[1], done.stderr)


if __name__ == "__main__":
    worker_test.main()

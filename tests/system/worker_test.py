# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of cwp-worker and cwp-inspect share: a folder for each test, job files, runs whose memory and scratch
are watched, safetensors and overlays read without any library of ours. Standard library only."""
import array
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
SHARED = os.environ.get("CWP_SHARED", "")
WORKER = os.path.join(BUILD, "cwp-worker")
INSPECT = os.path.join(BUILD, "cwp-inspect")
PLUGINS = os.environ.get("CWP_PLUGIN_DIR", os.path.join(BUILD, "plugins", ".libs"))
ZOO = os.path.join(BUILD, "tests", "plugins", "zoo", ".libs")
FAKE = os.path.join(BUILD, "tests", "plugins", "fake", ".libs", "cuda.so")  # the checking GPU
CACHE = os.environ.get("CWP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cwp")
GGUF = os.environ.get("CWP_SMOLLM2_GGUF") or os.path.join(CACHE, "smollm2.gguf")
TIMEOUT = 600
SANITIZED = None


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def golden(name):
    return os.path.join(SHARED, "golden", name)


def copy_golden(name, folder):
    """A copy that may be changed, whatever the original allows."""
    os.mkdir(folder)
    for file in os.listdir(golden(name)):
        shutil.copyfile(os.path.join(golden(name), file), os.path.join(folder, file))


def main():
    if not os.path.exists(os.path.join(golden("smollm2"), "config.json")):
        skip("no reference models below CWP_SHARED (%s)" % (SHARED or "not set"))
    unittest.main(verbosity=2)


def cache_entries(folder):
    """Scores in a cache's folder, which also holds a list of digests and a file of locks."""
    return sorted(name for name in os.listdir(folder) if name not in ("digests", ".making"))


def sanitized():
    """Whether the programs are built with AddressSanitizer: its shadow is no part of any bound."""
    global SANITIZED
    if SANITIZED is None:
        with open(WORKER, "rb") as f:
            data = f.read()
        if data[:4] != b"\x7fELF":  # libtool's wrapper
            with open(os.path.join(BUILD, ".libs", "cwp-worker"), "rb") as f:
                data = f.read()
        SANITIZED = b"__asan_init" in data
    return SANITIZED


def read_safetensors(path):
    """name -> (dtype, shape, bytes)."""
    with open(path, "rb") as f:
        data = f.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            tensors[name] = (t["dtype"], t["shape"], data[8 + length + begin:8 + length + end])
    return tensors


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            f.write(data)


def read_folder(folder):
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors") and name not in ("protected.safetensors", "golden.safetensors"):
            tensors.update(read_safetensors(os.path.join(folder, name)))
    return tensors


def floats(tensor):
    assert tensor[0] == "F32", tensor[0]
    return array.array("f", tensor[2])


def words(tensor):
    return array.array("I", tensor[2])


def protected_positions(folder):
    """module -> list of (row, column, value bytes), by doc/overlay.md alone."""
    path = os.path.join(folder, "protected.safetensors")
    if not os.path.exists(path):
        return {}
    t = read_safetensors(path)
    found = {}
    for name in t:
        if not name.endswith(".start"):
            continue
        module = name[:-len(".start")]
        start, (dtype, _, values) = words(t[name]), t[module + ".values"]
        size = {"F32": 4, "BF16": 2, "F16": 2}[dtype]
        places = []
        if module + ".gaps" in t:
            gaps = t[module + ".gaps"][2]
            for row in range(len(start) - 1):
                column = 0
                for byte in gaps[start[row]:start[row + 1]]:
                    column += byte
                    if byte != 255:
                        places.append((row, column))
                        column += 1
        else:
            _, (rows, stride), bits = t[module + ".bitmap"]
            for row in range(rows):
                places += [(row, 8 * b + k) for b in range(stride) for k in range(8) if bits[row * stride + b] >> k & 1]
        assert len(places) * size == len(values), module
        found[module] = [(r, c, values[i * size:(i + 1) * size]) for i, (r, c) in enumerate(places)]
    return found


class WorkerTest(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="cwp-worker-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.jobs = 0

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        path = self.path(name)
        with open(path, "wb" if isinstance(text, bytes) else "w", **({} if isinstance(text, bytes) else {"encoding": "utf-8"})) as f:
            f.write(text)
        return path

    def samples(self, name, count=6, length=24, seed=1, signed=False):
        """A sample file of random tokens; signed: pairs with opposite weights in one group."""
        rng = random.Random(seed)
        lines = []
        for i in range(count):
            ids = [rng.randrange(3, 512) for _ in range(length)]
            for sign in ((1, -1) if signed else (1,)):
                lines.append({"ids": ids if sign > 0 else ids[:length // 2] + ids[length // 2:][::-1],
                    "weights": [0] + [sign / (length - 1)] * (length - 1), "group": i})
        return self.write(name, "".join(json.dumps(line) + "\n" for line in lines))

    def job(self, model="smollm2", output=None, **parts):
        """Writes a job file; parts are its keys as JSON, which is YAML too. Returns (job file, output)."""
        self.jobs += 1
        output = output or self.path("out%d" % self.jobs)
        job = {"model": model if "/" in model else golden(model), "output": output,
            "quantize": {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 16 if "qwen2moe" in model else 32}}}
        job.update(parts)
        return self.write("job%d.yaml" % self.jobs, json.dumps({k: v for k, v in job.items() if v is not None})), output

    def protecting(self, scorer="fisher", fraction=0.05, carrier="overlay", **score):
        """Keys of a job that scores with two sets."""
        critical, utility = self.samples("critical.jsonl", signed=True), self.samples("utility.jsonl", count=4, seed=2)
        return {"calibrate": {"critical": [{"name": "safety", "data": "samples", "path": critical}],
            "utility": [{"name": "text", "data": "samples", "path": utility}]},
            "score": dict(plugin=scorer, **score), "protect": {"fraction": fraction, "carrier": carrier}}

    def worker(self, *arguments, **more):
        return subprocess.run([WORKER] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=TIMEOUT, **more)

    def run_job(self, job, *arguments, status=0, **more):
        done = self.worker("run", job, "--threads", "2", *arguments, **more)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def inspect(self, *arguments, lines=None):
        """Runs a verb; returns the lines that it prints."""
        done = subprocess.run([INSPECT] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=TIMEOUT, input=None if lines is None else "".join(json.dumps(line) + "\n" for line in lines))
        self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def load(self, output, name):
        with open(os.path.join(output, name), encoding="utf-8") as f:
            return json.load(f)

    def digest(self, output):
        return self.load(output, "manifest.json")["content_digest"]

    def logits(self, model, name, ids):
        out = self.path(name + ".safetensors")
        self.inspect("logits", model, "--out", out, "--threads", "1", lines=[{"ids": i} for i in ids])
        return read_safetensors(out)

    def assert_tidy(self, output):
        """Nothing is left that is no part of a finished output."""
        hidden = [name for name in os.listdir(output) if name.startswith(".")]
        self.assertEqual(hidden, [])
        beside = [name for name in os.listdir(os.path.dirname(output)) if name.startswith("." + os.path.basename(output))]
        self.assertEqual(beside, [])

    def assert_nothing(self, output):
        """A refused job leaves no trace."""
        name = os.path.basename(output)
        left = [n for n in os.listdir(os.path.dirname(output)) if n == name or n.startswith("." + name) or
            n.startswith(name + ".")]
        self.assertEqual(left, [])


class OwnPluginsTest(WorkerTest):
    """Jobs with a folder of plugins of their own: some of the project's, and another one in the place of a GPU's."""
    own = ("cpu", "fisher", "static")
    gpu_plugin = None

    def setUp(self):
        super().setUp()
        self.plugins = self.path("plugins")
        os.mkdir(self.plugins)
        for name in self.own:
            shutil.copy(os.path.join(PLUGINS, name + ".so"), self.plugins)
        if self.gpu_plugin is not None:
            self.have(self.gpu_plugin)

    def have(self, gpu):
        shutil.copy(gpu, os.path.join(self.plugins, "cuda.so"))


class MockTest(OwnPluginsTest):
    """Jobs with mock plugins, beside those of the project that such jobs need."""
    mocks = ()  # names of files in ZOO

    def setUp(self):
        super().setUp()
        for name in self.mocks:
            shutil.copy(os.path.join(ZOO, name + ".so"), os.path.join(self.plugins, name.replace("_", "-") + ".so"))

    def run_mock(self, job, *arguments, status=0):
        return self.run_job(job, "--plugin-dir", self.plugins, *arguments, status=status)


def make_model(folder, layers=3, hidden=256, wide=640, vocabulary=512, context=256, change=None):
    """A Llama of random weights, F32, one file. change: called with the tensors and the configuration before they are
    written."""
    rng = random.Random(7)

    def matrix(rows, cols):
        return ("F32", [rows, cols], array.array("f", [0.1 * rng.random() - 0.05 for _ in range(rows * cols)]).tobytes())

    def ones():
        return ("F32", [hidden], array.array("f", [1.0] * hidden).tobytes())

    t = {"model.embed_tokens.weight": matrix(vocabulary, hidden), "model.norm.weight": ones()}
    for layer in range(layers):
        p = "model.layers.%d." % layer
        t.update({p + "input_layernorm.weight": ones(), p + "post_attention_layernorm.weight": ones(),
            p + "self_attn.q_proj.weight": matrix(hidden, hidden), p + "self_attn.k_proj.weight": matrix(hidden // 2, hidden),
            p + "self_attn.v_proj.weight": matrix(hidden // 2, hidden), p + "self_attn.o_proj.weight": matrix(hidden, hidden),
            p + "mlp.gate_proj.weight": matrix(wide, hidden), p + "mlp.up_proj.weight": matrix(wide, hidden),
            p + "mlp.down_proj.weight": matrix(hidden, wide)})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": wide,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden // 4,
        "vocab_size": vocabulary, "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}
    if change:
        change(t, config)
    os.mkdir(folder)
    write_safetensors(os.path.join(folder, "model.safetensors"), t)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    return folder


class Watch:
    """Runs a program and samples what it takes: peak resident memory, and what lies in a folder."""

    def __init__(self, command, scratch, env=None, pause=0.001):
        self.memory = self.scratch = 0
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
        while self.process.poll() is None:
            self.look(scratch)
            time.sleep(pause)
        self.stderr = self.process.stderr.read()
        self.process.stderr.close()

    def look(self, scratch):
        try:
            with open("/proc/%d/status" % self.process.pid) as f:
                for line in f:
                    if line.startswith("VmHWM:"):
                        self.memory = max(self.memory, int(line.split()[1]) * 1024)
        except (OSError, IndexError):
            pass
        size = 0
        for root, _, names in os.walk(scratch):
            for name in names:
                try:
                    size += os.lstat(os.path.join(root, name)).st_blocks * 512
                except OSError:
                    pass
        # Files without a name count too.
        try:
            for fd in os.listdir("/proc/%d/fd" % self.process.pid):
                link = "/proc/%d/fd/%s" % (self.process.pid, fd)
                target = os.readlink(link)
                if target.startswith(scratch) and target.endswith("(deleted)"):
                    size += os.stat(link).st_blocks * 512
        except OSError:
            pass
        self.scratch = max(self.scratch, size)

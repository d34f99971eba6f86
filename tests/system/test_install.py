# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""make install into a folder of its own: the layout, --help and --version of each program, and a small job through the
installed worker and an installed daemon. Where mount namespaces are allowed the installation is mounted at its prefix,
so that the programs find each other as they would on a machine; else by their environment. Standard library only."""
import array
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ.get("CWP_BUILDDIR", os.getcwd())
PLUGINS = {"bbq", "control", "cpu", "crows-pairs", "fisher", "fp8", "gradient", "int8", "mbbq", "mmlu", "perplexity", "static", "stereoset",
           "wanda"}
LAYOUT = [
    "bin/cwpctl", "bin/cwp-inspect", "sbin/cwpd", "libexec/cwp/cwp-worker", "libexec/cwp/cwp-probe",
    "include/cwp/plugin.h", "include/cwp/error.h", "include/cwp/host.h", "include/cwp/scorer.h", "include/cwp/quantizer.h",
    "include/cwp/backend.h", "include/cwp/evaluator.h", "lib/pkgconfig/cwp-plugin.pc", "share/man/man1/cwpctl.1",
    "share/man/man5/cwp-job.5", "share/man/man5/cwpd.yaml.5", "share/man/man7/cwp-plugin.7", "share/man/man7/cwp-evaluator.7",
    "share/cwp/examples/evaluator/opposites.c", "share/man/man8/cwpd.8",
    "share/cwp/chat/llama3.json", "share/cwp/chat/qwen2.5.json", "share/cwp/chat/gemma3.json", "share/cwp/examples/jobs/smollm2-int4.yaml", "share/cwp/examples/data/pairs.jsonl",
    "share/bash-completion/completions/cwpctl", "lib/systemd/system/cwpd.service", "lib/systemd/system/cwpd.socket",
]
PROGRAMS = ["bin/cwpctl", "bin/cwp-inspect", "sbin/cwpd", "libexec/cwp/cwp-worker", "libexec/cwp/cwp-probe"]
SHAPES = {"vocab": 64, "hidden": 32, "intermediate": 64, "layers": 2, "heads": 4, "kv": 2}


def clean_environment(**more):
    """Without what make says to its own children, and what would lead the programs back into the build folder."""
    gone = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CWP_PLUGIN_DIR", "CWP_LIBEXEC", "CWP_SOCKET", "DESTDIR",
            "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID")
    return dict({k: v for k, v in os.environ.items() if k not in gone}, **more)


def make_variable(name):
    with open(os.path.join(BUILD, "Makefile"), encoding="utf-8") as f:
        for line in f:
            if line.startswith(name + " ="):
                return line.split("=", 1)[1].strip()
    raise AssertionError("no %s in Makefile" % name)


def write_model(folder):
    """A Llama of two layers with random weights and no tokenizer: its jobs bring their tokens along."""
    s, random_ = SHAPES, random.Random(7)
    head = s["hidden"] // s["heads"]
    shapes = {"model.embed_tokens.weight": (s["vocab"], s["hidden"]), "model.norm.weight": (s["hidden"],)}
    for i in range(s["layers"]):
        p = "model.layers.%d." % i
        shapes.update({p + "self_attn.q_proj.weight": (s["hidden"], s["hidden"]),
            p + "self_attn.k_proj.weight": (s["kv"] * head, s["hidden"]),
            p + "self_attn.v_proj.weight": (s["kv"] * head, s["hidden"]),
            p + "self_attn.o_proj.weight": (s["hidden"], s["hidden"]),
            p + "mlp.gate_proj.weight": (s["intermediate"], s["hidden"]),
            p + "mlp.up_proj.weight": (s["intermediate"], s["hidden"]),
            p + "mlp.down_proj.weight": (s["hidden"], s["intermediate"]),
            p + "input_layernorm.weight": (s["hidden"],), p + "post_attention_layernorm.weight": (s["hidden"],)})
    header, data = {}, bytearray()
    for name, shape in sorted(shapes.items()):
        count = 1
        for n in shape:
            count *= n
        begin = len(data)
        data += array.array("f", [1.0] * count if "norm" in name else [random_.gauss(0, 0.1) for _ in range(count)]).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    os.makedirs(folder)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": s["vocab"],
            "hidden_size": s["hidden"], "intermediate_size": s["intermediate"], "num_hidden_layers": s["layers"],
            "num_attention_heads": s["heads"], "num_key_value_heads": s["kv"], "head_dim": head, "hidden_act": "silu",
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
            "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}, f)


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="cwp-install-", dir=os.environ.get("TMPDIR", "/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.dest = os.path.join(cls.folder, "dest")
        made = subprocess.run(["make", "-C", BUILD, "install", "DESTDIR=" + cls.dest], env=clean_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            raise AssertionError(made.stdout[-4000:])
        cls.prefix = make_variable("prefix")
        cls.top = cls.dest + cls.prefix
        cls.mounted = os.path.isdir(cls.prefix) and subprocess.run(cls.namespace("test -x %s/sbin/cwpd" % cls.prefix),
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        print("the installation is", "mounted at " + cls.prefix if cls.mounted else "found by the environment", file=sys.stderr)
        write_model(os.path.join(cls.folder, "model"))
        with open(os.path.join(cls.folder, "samples.jsonl"), "w", encoding="utf-8") as f:
            for i in range(4):
                f.write(json.dumps({"ids": [1 + (i * 7 + j * 5) % 60 for j in range(12)], "weights": [0] + [1 / 11] * 11}) + "\n")

    @classmethod
    def namespace(cls, text):
        return ["unshare", "--mount", "--map-root-user", "sh", "-c",
            'mount --bind "$0" "$1" && shift && %s' % text, cls.top, cls.prefix]

    def command(self, program, *arguments):
        """An installed program's command line, and its environment."""
        if self.mounted:
            line = self.namespace('exec "$@"')
            return line + [os.path.join(self.prefix, program), *arguments], clean_environment()
        plugins = os.path.join(self.top, "lib/cwp/plugins")
        if program.endswith("cwp-worker") and arguments[0] == "run":
            arguments += ("--plugin-dir", plugins)
        return [os.path.join(self.top, program), *arguments], clean_environment(CWP_PLUGIN_DIR=plugins,
            CWP_LIBEXEC=os.path.join(self.top, "libexec/cwp"))

    def run_program(self, program, *arguments, **more):
        line, environment = self.command(program, *arguments)
        return subprocess.run(line, env=dict(environment, **more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, timeout=300, check=False)

    def job(self, name):
        job = {"name": name, "model": os.path.join(self.folder, "model"), "output": os.path.join(self.folder, name),
            "calibrate": {"critical": [{"name": "safety", "data": "samples", "path": os.path.join(self.folder, "samples.jsonl")}]},
            "score": {"plugin": "fisher"}, "protect": {"fraction": 0.05},
            "quantize": {"plugin": "static", "options": {"bits": 4, "granularity": "group", "group": 32}}}
        path = os.path.join(self.folder, name + ".yaml")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(job, f)
        return path, job["output"]

    def digest(self, output):
        with open(os.path.join(output, "manifest.json"), encoding="utf-8") as f:
            return json.load(f)["content_digest"]

    def test_layout(self):
        missing = [name for name in LAYOUT if not os.path.isfile(os.path.join(self.top, name))]
        self.assertEqual(missing, [])
        plugins = os.listdir(os.path.join(self.top, "lib/cwp/plugins"))
        self.assertLessEqual({name + ".so" for name in PLUGINS}, set(plugins))
        self.assertEqual([name for name in plugins if not name.endswith(".so")], [])
        with open(os.path.join(self.top, "lib/systemd/system/cwpd.service"), encoding="utf-8") as f:
            unit = f.read()
        self.assertIn("ExecStart=" + self.prefix + "/sbin/cwpd", unit)
        self.assertNotIn("dir@", unit)
        for folder, _, files in os.walk(self.dest):
            for name in files:
                with open(os.path.join(folder, name), "rb") as f:
                    data = f.read()
                # Only debug information may name the build folder.
                self.assertTrue(data.startswith(b"\x7fELF") or BUILD.encode() not in data, name)

    def test_help_and_version(self):
        version = make_variable("PACKAGE_VERSION")
        for program in PROGRAMS:
            done = self.run_program(program, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""), program)
            self.assertIn("usage: " + os.path.basename(program), done.stdout.lower())
            done = self.run_program(program, "--version")
            self.assertEqual((done.returncode, done.stderr), (0, ""), program)
            self.assertIn(version, done.stdout)
            self.assertIn(os.path.basename(program), done.stdout)
            done = self.run_program(program, "--no-such-option")
            self.assertEqual(done.returncode, 64, (program, done.stderr))

    def test_job(self):
        path, output = self.job("worker")
        done = self.run_program("libexec/cwp/cwp-worker", "run", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_program("bin/cwp-inspect", "verify", output)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.through_daemon(), self.digest(output))

    def through_daemon(self):
        """The same job submitted to the installed daemon; the digest of its output."""
        for name in ("run", "state", "config"):
            os.mkdir(os.path.join(self.folder, name), 0o700)
        folders = {"XDG_RUNTIME_DIR": os.path.join(self.folder, "run"), "XDG_STATE_HOME": os.path.join(self.folder, "state"),
            "XDG_CONFIG_HOME": os.path.join(self.folder, "config")}
        line, environment = self.command("sbin/cwpd")
        path, output = self.job("daemon")
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as f:
            daemon = subprocess.Popen(line, env=dict(environment, **folders), stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        try:
            deadline = time.monotonic() + 60
            while not os.path.exists(os.path.join(self.folder, "run/cwp/org.cwpd.Jobs")) and time.monotonic() < deadline:
                self.assertIsNone(daemon.poll())
                time.sleep(0.02)
            socket = {"CWP_SOCKET": os.path.join(self.folder, "run/cwp")}
            done = self.run_program("bin/cwpctl", "plugins", "--json", **socket)
            self.assertEqual(done.returncode, 0, done.stderr)
            for name in PLUGINS:
                self.assertIn('"%s"' % name, done.stdout)
            done = self.run_program("bin/cwpctl", "submit", "--quiet", path, **socket)
            self.assertEqual(done.returncode, 0, done.stderr)
            done = self.run_program("bin/cwpctl", "wait", done.stdout.strip(), **socket)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        finally:
            daemon.send_signal(signal.SIGTERM)
            status = daemon.wait(60)
            with open(log, encoding="utf-8", errors="replace") as f:
                text = f.read()
        self.assertEqual(status, 0, text)
        return self.digest(output)


if __name__ == "__main__":
    for tool in ("cwpd", "cwp-worker", "cwpctl", "Makefile"):
        if not os.path.exists(os.path.join(BUILD, tool)):
            print("skipped: %s is not there" % os.path.join(BUILD, tool))
            sys.exit(77)
    unittest.main(verbosity=2)

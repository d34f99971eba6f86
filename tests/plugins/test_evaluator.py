#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""An evaluator's requests of every kind are answered as cwp-inspect answers them, and one that breaks the rules ends the job
with a clear error and no output."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

BUILD = os.environ.get("CWP_BUILDDIR", ".")
PLUGINS = os.environ.get("CWP_PLUGIN_DIR", os.path.join(BUILD, "plugins", ".libs"))
MODEL = os.path.join(os.environ.get("CWP_SHARED", "shared"), "golden", "smollm2")
TEXT = "who is it?"

JOB = """
model: {folder}/model
output: {folder}/out
quantize: {{plugin: static, options: {{bits: 8, granularity: channel}}}}
write: {{format: dense}}
evaluate:
  - {{name: mock, benchmark: mock-evaluator, path: {folder}/data.txt, options: {{fault: {fault}, stop: sss}}}}
{more}
"""

FAULTS = [
    ("many", "at most"),
    ("unknown-kind", "request 0 has the unknown kind 99"),
    ("null-text", "a length without a text"),
    ("null-name", "without a plain name"),
    ("control-name", "without a plain name"),
    ("same-name", "the same one twice"),
    ("early-item", "an item before any metric"),
    ("null-item", "an item before any metric"),
    ("old-metric", "without a plain name"),
    ("silent-error", "request: invalid value"),
    ("positive-error", "returned 7, which is no error code"),
    ("stop-missing", "request 3 has 2 stop strings, which are more than 64 or not all there"),
    ("stop-many", "request 3 has 65 stop strings, which are more than 64 or not all there"),
    ("stop-empty", "request 3: stop string 1 is empty"),
]


def byte_characters():
    """GPT-2's printable character for each byte."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def make_model(folder):
    """The tiny reference model with a tokenizer of bytes."""
    os.mkdir(folder)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(os.path.join(MODEL, name), folder)
    vocabulary = {c: b for b, c in byte_characters().items()}
    vocabulary["<end>"] = 256
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": 256, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocabulary, "merges": []},
    }
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer, f)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"eos_token": "<end>"}, f)


def run_job(folder, plugins, fault, more=""):
    path = os.path.join(folder, "job.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(JOB.format(folder=folder, fault=fault, more=more))
    done = subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", path, "--plugin-dir", plugins, "--threads", "2"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def planned_memory(folder, plugins):
    path = os.path.join(folder, "job.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(JOB.format(folder=folder, fault="none", more=""))
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "plan", path, "--plugin-dir", plugins, "--threads", "2"],
                          stdout=subprocess.PIPE, check=True)
    return -(-json.loads(done.stdout)["bounds"]["memory"] // 1024)  # KiB


def inspect(folder, verb, line):
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), verb, os.path.join(folder, "model"), "--plugin-dir", PLUGINS],
                          input=json.dumps(line).encode(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def check_answers(folder):
    with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
        rows = {row["metric"]: row for row in json.load(f)["evaluation"]}
    generated = inspect(folder, "generate", {"text": TEXT, "max_new_tokens": 6})
    stopped = inspect(folder, "generate", {"text": TEXT, "max_new_tokens": 6, "stop": ["what is not there", "sss"]})
    text = generated["text"].encode()
    assert generated["text"].startswith("sssss"), generated
    assert (len(stopped["ids"]), stopped["text"]) == (3, ""), stopped
    want = {
        "loglik": inspect(folder, "loglik", {"context": "", "continuation": TEXT})["loglik"],
        "tokens": len(generated["ids"]),
        "bytes": len(text),
        "sum": sum((i + 1) * b for i, b in enumerate(text)),
        "stopped_tokens": 3,
        "stopped_bytes": 0,
    }
    want["rolling"] = want["loglik"]  # one window holds it
    for metric, value in want.items():
        got = rows[metric]["original"]["value"]
        assert abs(got - value) <= 1e-6 * max(1, abs(value)), (metric, got, value)
        # Nothing is protected: the output is the plainly quantized model.
        assert rows[metric]["quantized"] == rows[metric]["protected"], rows[metric]
    assert rows["loglik"]["flips"] == {"quantized": 0, "protected": 0}, rows["loglik"]


def main():
    if not os.path.exists(os.path.join(MODEL, "config.json")):
        print("skipped: no reference model", MODEL)
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="cwp-evaluator-") as folder:
        plugins = os.path.join(folder, "plugins")
        os.mkdir(plugins)
        for name in ("cpu", "static"):
            shutil.copy(os.path.join(PLUGINS, name + ".so"), plugins)
        mock = os.path.join(BUILD, "tests", "plugins", "zoo", ".libs", "mock_evaluator.so")
        shutil.copy(mock, os.path.join(plugins, "mock-evaluator.so"))
        make_model(os.path.join(folder, "model"))
        with open(os.path.join(folder, "data.txt"), "w", encoding="utf-8") as f:
            f.write(TEXT)
        memory = planned_memory(folder, plugins)
        for fault, more in (("none", ""), ("none", "limits: {{memory: {memory}KiB}}"), ("larger-count", "")):
            # The second time with no more memory than the plan says: generating text has to do with it.
            status, said = run_job(folder, plugins, fault, more.format(memory=memory))
            assert status == 0, said
            check_answers(folder)
            with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
                bound = json.load(f)["bounds"]["memory"]
            assert bound == 1024 * memory if more else bound > 1024 * memory, (bound, memory)
            shutil.rmtree(os.path.join(folder, "out"))
        for fault, text in FAULTS:
            status, said = run_job(folder, plugins, fault)
            assert status not in (0, 2) and status < 128, (fault, status, said)
            assert text in said, (fault, said)
            assert "\x1b" not in said, (fault, said)
            assert not os.path.exists(os.path.join(folder, "out", "manifest.json")), fault
            shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
            shutil.rmtree(os.path.join(folder, ".out.cwp-scratch"), ignore_errors=True)
    print("answers agree; %d faults are named" % len(FAULTS))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""An evaluator's requests of every kind are answered as cwp-inspect answers them, and one that breaks the rules ends the job
with a clear error and no output."""
import json
import math
import os
import re
import shutil
import struct
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
quantize: {{plugin: static, options: {{bits: {bits}, granularity: channel}}}}
write: {{format: dense}}
chat: {chat}
evaluate:
  - {{name: mock, benchmark: mock-evaluator, path: {folder}/data.txt, options: {{fault: {fault}, stop: sss}}{judge}}}
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
    ("unknown-flags", "request 0 has the unknown flags 8"),
    ("chat-rolling", "request 1 has CWP_REQUEST_CHAT, but no context"),
    ("small-window", "request 6: a window of 1 tokens predicts none"),
    ("all-long", "all 10 requests of mock-evaluator are longer than the model's context of 128 tokens"),
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


CHAT = {"name": "mine", "tokens": [], "system": {"place": "message", "prefix": "S:", "suffix": "\n"},
        "user": {"prefix": "U:", "suffix": "\n"}, "assistant": {"prefix": "A:", "suffix": "\n"}, "generation": "A:", "turns": "any"}
CHATTED = "U:%s\nA:" % TEXT


def run_job(folder, plugins, fault, more="", chat="none", judge="", cache=None, bits=8):
    path = os.path.join(folder, "job.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(JOB.format(folder=folder, fault=fault, more=more, chat=chat, judge=judge and ", judge: {model: %s}" % judge, bits=bits))
    done = subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", path, "--plugin-dir", plugins, "--threads", "2"]
                          + (["--cache", cache] if cache else []), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def plan_of(folder, plugins, fault, judge):
    path = os.path.join(folder, "job.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(JOB.format(folder=folder, fault=fault, more="", chat="none", judge=judge and ", judge: {model: %s}" % judge, bits=8))
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), "plan", path, "--plugin-dir", plugins, "--threads", "2"],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def planned_memory(folder, plugins):
    plan = plan_of(folder, plugins, "none", "")
    row, = plan["evaluations"]
    known = {key: row[key] for key in ("name", "requests", "too_long", "generated")}
    assert known == {"name": "mock", "requests": 10, "too_long": 2, "generated": 12} and row["tokens"] > 40 and row["seconds"] > 0, row
    assert "judge" not in row, row
    return -(-plan["bounds"]["memory"] // 1024)  # KiB


def inspect(folder, verb, line, model="model"):
    done = subprocess.run([os.path.join(BUILD, "cwp-inspect"), verb, os.path.join(folder, model), "--plugin-dir", PLUGINS],
                          input=json.dumps(line).encode(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def next_distribution(folder, model, text):
    """log-softmax of the logits behind the last token of the text."""
    out = os.path.join(folder, "logits.safetensors")
    subprocess.run([os.path.join(BUILD, "cwp-inspect"), "logits", os.path.join(folder, model), "--plugin-dir", PLUGINS, "--out", out],
                   input=json.dumps({"ids": list(text.encode())}).encode(), stdout=subprocess.PIPE, check=True)
    with open(out, "rb") as f:
        data = f.read()
    head = 8 + struct.unpack("<Q", data[:8])[0]
    (_, tensor), = [item for item in json.loads(data[8:head]).items() if item[0] != "__metadata__"]
    row = struct.unpack("<%df" % tensor["shape"][-1], data[head + tensor["data_offsets"][1] - 4 * tensor["shape"][-1]:][:4 * tensor["shape"][-1]])
    most = max(row)
    lse = most + math.log(sum(math.exp(x - most) for x in row))
    return [x - lse for x in row]


def check_new_kinds(folder, rows, prompt):
    ids = [list(x.encode()) for x in (prompt, " ok")]
    line = {"context_ids": ids[0], "continuation_ids": ids[1]} if prompt != TEXT else {"context": TEXT, "continuation": " ok"}
    want = {"chat": inspect(folder, "loglik", line)["loglik"], "kl": 0, "same": 1, "too_long": 3,
            # The second generated text met its string, the first one went on.
            "ended": 2 ** 3, "window_tokens": 2 * 3, "window_count": 2, "window_rest": 0,
            "windows": sum(inspect(folder, "loglik", {"context_ids": list(TEXT[i:i + 1].encode()), "continuation_ids":
                           list(TEXT[i + 1:i + 4].encode())})["loglik"] for i in (0, 4))}
    for metric, value in want.items():
        got = rows[metric]["original"]["value"]
        assert abs(got - value) <= 1e-6 * max(1, abs(value)), (metric, got, value)
        assert rows[metric]["too_long"] == {"count": 2, "items": ["the long one", "9"]}, rows[metric]
    p, q = next_distribution(folder, "model", prompt), next_distribution(folder, "out", prompt)
    kl = sum(math.exp(a) * (a - b) for a, b in zip(p, q))
    got = rows["kl"]["protected"]["value"]
    assert kl > 1e-9 and abs(got - kl) <= 1e-4 * kl + 1e-8, (got, kl)
    assert rows["same"]["protected"]["value"] == int(p.index(max(p)) == q.index(max(q))), rows["same"]


def check_answers(folder, prompt=TEXT):
    with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
        rows = {row["metric"]: row for row in json.load(f)["evaluation"]}
    check_new_kinds(folder, rows, prompt)
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
    assert rows["loglik"]["flips"]["protected"]["count"] == 0, rows["loglik"]


def spoil(path, name, value=1e38):
    """Fills a tensor of the file, by default so that what is multiplied with it overflows."""
    with open(path, "r+b") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        tensor = json.loads(f.read(size))[name]
        first, last = tensor["data_offsets"]
        f.seek(8 + size + first)
        number = struct.pack("<f", value)[2 if tensor["dtype"] == "BF16" else 0:]
        f.write(number * ((last - first) // len(number)))


def check_numbers(folder, plugins):
    """A model that gives no numbers: the job says where."""
    path = os.path.join(folder, "model", "model.safetensors")
    shutil.copy(path, path + ".kept")
    spoil(path, "model.layers.1.post_attention_layernorm.weight")
    for fault in ("none", "only-text"):  # scored, generated
        status, said = run_job(folder, plugins, fault)
        assert status not in (0, 2) and status < 128, (status, said)
        assert re.search(r"evaluating the original model: mock: request \d: layer 1 gives NaN or infinity", said), said
        shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
        shutil.rmtree(os.path.join(folder, ".out.cwp-scratch"), ignore_errors=True)
    shutil.move(path + ".kept", path)


def rows_of(folder):
    with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
        rows = json.load(f)["evaluation"]
    shutil.rmtree(os.path.join(folder, "out"))
    return rows


def answers_in(scratch):
    return {name: os.stat(os.path.join(scratch, name)).st_ino for name in os.listdir(scratch) if name.startswith("answers-")}


def check_killed(folder, plugins):
    """A worker that is killed behind the second model's answers: the next one has them, asks no more, and ends alike."""
    scratch = os.path.join(folder, ".out.cwp-scratch")
    status, said = run_job(folder, plugins, "die")
    assert status == -9, (status, said)
    kept = answers_in(scratch)
    assert len(kept) == 2, os.listdir(scratch)
    victim = os.path.join(scratch, sorted(kept)[0])
    with open(victim, "r+b") as f:  # what is damaged is asked again
        f.seek(100)
        f.write(b"\xff\xff")
    status, said = run_job(folder, plugins, "die")
    assert status == 0, said
    again = rows_of(folder)
    assert not os.path.exists(scratch) or not answers_in(scratch)
    status, said = run_job(folder, plugins, "die")
    assert status == 0, said
    assert again == rows_of(folder)


def check_cached(folder, plugins):
    """Jobs on one model ask it once, whatever else they do; damaged answers are asked again."""
    cache = os.path.join(folder, "cache")
    first = rows_after(folder, plugins, cache, 8)
    entries = [name for name in os.listdir(cache) if len(name) == 64]
    assert len(entries) == 1, os.listdir(cache)
    again, other = rows_after(folder, plugins, cache, 8), rows_after(folder, plugins, cache, 4)
    for row, one, four in zip(first, again, other):
        assert (row["original_cached"], one["original_cached"], four["original_cached"]) == (False, True, True), (row, one, four)
        assert row["original"] == one["original"] == four["original"] and row["protected"] == one["protected"], (row, one, four)
    # Drift is told of the original as it is now, too.
    assert any(row["protected"] != four["protected"] for row, four in zip(first, other) if row["metric"] == "kl")
    with open(os.path.join(cache, entries[0], "answers"), "r+b") as f:
        f.truncate(200)
    damaged = rows_after(folder, plugins, cache, 8)
    assert damaged == first, damaged


def check_cached_plain(folder, plugins):
    """Jobs that quantize a model alike and protect it otherwise ask the plainly quantized one once, a calibrated quantizer too."""
    cache = os.path.join(folder, "cache-plain")
    text = os.path.join(folder, "texts.jsonl")
    with open(text, "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"text": "%d %s" % (i, TEXT)}) + "\n" for i in range(8))
    kept = "score: {plugin: control}\nprotect: {fraction: %g}"
    sets = "\ncalibrate: {utility: [{name: text, data: jsonl, columns: {text: text}, path: %s, length: 32}]}" % text
    for algorithm in ("rtn", "gptq"):
        plain = {}
        for fraction, bits, cached in ((0.1, 4, False), (0.2, 4, True), (0.2, 8, False), (0.2, 4, True)):
            rows = rows_after(folder, plugins, cache, "%d, algorithm: %s" % (bits, algorithm), kept % fraction + sets)
            assert all(row["quantized_cached"] == cached for row in rows), (algorithm, fraction, bits, rows)
            values = [row["quantized"] for row in rows]
            assert plain.setdefault(bits, values) == values, (algorithm, fraction, bits, values)
            if fraction == 0.1:
                before = [row["protected"] for row in rows]
            elif bits == 4:
                assert [row["protected"] for row in rows] != before, (algorithm, rows)
        assert plain[4] != plain[8], plain


def rows_after(folder, plugins, cache, bits, more=""):
    status, said = run_job(folder, plugins, "none", more, cache=cache, bits=bits)
    assert status == 0, said
    return rows_of(folder)


def check_judge(folder, plugins):
    """Another model, with a chat format of its own, is asked about what this one said; its digest is among the inputs."""
    judge = os.path.join(folder, "judge")
    shutil.copytree(os.path.join(folder, "model"), judge)
    spoil(os.path.join(judge, "model.safetensors"), "model.norm.weight", 3.0)
    for status, fault, path, text in ((65, "judge", "", "lets a judge decide and there is none: add judge"),
                                      (65, "judge-drift", judge, "a judge is not asked for the kind 4"),
                                      (66, "judge", os.path.join(folder, "no"), "no: ")):
        got, said = run_job(folder, plugins, fault, judge=path)
        assert got not in (0, 2) and got < 128 and text in said, (status, got, said)
        assert not os.path.exists(os.path.join(folder, "out", "manifest.json")), fault
        shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)
    # Both its requests have an answer of 6 tokens at most and, as far as a plan knows, the longest prompt behind a first token; one
    # scores 3 tokens, the other makes 5.
    (alone,), (row,) = (plan_of(folder, plugins, *which)["evaluations"] for which in (("none", ""), ("judge", judge)))
    assert row["judge"] == {"requests": 2, "tokens": 2 * (1 + len(TEXT) + 6) + 3, "generated": 5}, row
    assert row["tokens"] == alone["tokens"] + row["judge"]["tokens"] and row["generated"] == alone["generated"] + 5, (row, alone)
    status, said = run_job(folder, plugins, "judge", judge=judge)
    assert status == 0, said
    check_answers(folder)
    with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
        rows = {row["metric"]: row for row in json.load(f)["evaluation"]}
    for which, model in (("original", "model"), ("protected", "out")):
        answer = inspect(folder, "generate", {"text": TEXT, "max_new_tokens": 6}, model)["text"]
        verdict = inspect(folder, "generate", {"text": answer, "max_new_tokens": 5}, "judge")
        want = {"judged": inspect(folder, "loglik", {"context": answer, "continuation": "yes"}, "judge")["loglik"],
                "verdict_tokens": len(verdict["ids"]),
                "verdict_sum": sum((i + 1) * b for i, b in enumerate(verdict["text"].encode()))}
        for metric, value in want.items():
            got = rows[metric][which]["value"]
            assert abs(got - value) <= 1e-6 * max(1, abs(value)), (metric, got, value)
    with open(os.path.join(folder, "out", "manifest.json"), encoding="utf-8") as f:
        assert os.path.join(judge, "model.safetensors") in f.read()
    shutil.rmtree(os.path.join(folder, "out"))


def main():
    if not os.path.exists(os.path.join(MODEL, "config.json")):
        print("skipped: no reference model", MODEL)
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="cwp-evaluator-") as folder:
        plugins = os.path.join(folder, "plugins")
        os.mkdir(plugins)
        for name in ("cpu", "static", "control"):
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
        with open(os.path.join(folder, "chat.json"), "w", encoding="utf-8") as f:
            json.dump(CHAT, f)
        for chat, prompt in (("chat.json", CHATTED), ("auto", TEXT)):
            status, said = run_job(folder, plugins, "none", "", chat)
            assert status == 0, said
            check_answers(folder, prompt)
            with open(os.path.join(folder, "out", "report.json"), encoding="utf-8") as f:
                report = json.load(f)
            plain = [text for text in report["warnings"] if "evaluations give it their prompts as plain text" in text]
            assert len(plain) == (chat == "auto"), report["warnings"]
            assert report["chat"] == ("mine" if chat == "chat.json" else None), report["chat"]
            shutil.rmtree(os.path.join(folder, "out"))
        check_judge(folder, plugins)
        check_killed(folder, plugins)
        check_cached(folder, plugins)
        check_cached_plain(folder, plugins)
        check_numbers(folder, plugins)
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

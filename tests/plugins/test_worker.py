#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A job that names a faulty plugin ends with a clear error and nothing written; the same job with a good one runs, even
with the faulty ones beside it."""
import os
import shutil
import subprocess
import sys
import tempfile

BUILD = os.environ.get("CWP_BUILDDIR", ".")
PLUGINS = os.environ.get("CWP_PLUGIN_DIR", os.path.join(BUILD, "plugins", ".libs"))
MODEL = os.path.join(os.environ.get("CWP_SHARED", "shared"), "golden", "smollm2")

JOB = """
model: {model}
output: {folder}/out
calibrate: {{critical: [{{name: safety, data: samples, path: {folder}/samples.jsonl}}]}}
score: {{plugin: {scorer}}}
protect: {{fraction: 0.05}}
quantize: {{plugin: {quantizer}, options: {{bits: 4, granularity: group, group: 32}}}}
"""

# scorer, quantizer, exit status, what is said
CASES = [
    ("wrong-major", "static", 78, "built for plugin ABI 2.0, this host has 1.0"),
    ("newer-minor", "static", 78, "built for plugin ABI 1.1, this host has 1.0"),
    ("no-note", "static", 78, "no ABI note"),
    ("wrong-kind", "static", 65, "'wrong-kind' is a quantizer"),
    ("fisher", "fisher", 65, "'fisher' is a scorer"),
    ("missing-symbol", "static", 1, "exports no symbol cwp_plugin"),
    ("small-size", "static", 1, "size field says 16 bytes"),
    ("unknown-interface", "static", 1, "has no interface cwp.scorer/1"),
    ("aborts-on-load", "static", 1, "crashed while it was loaded (signal 6"),
    ("exits-on-load", "static", 1, "ended the process with status 0 while it was loaded"),
    ("renamed", "static", 1, "holds plugin 'fisher'; rename the file to fisher.so"),
    ("fishr", "static", 65, "did you mean 'fisher'?"),
    ("fisher", "static", 0, ""),
]


def main():
    if not os.path.exists(os.path.join(MODEL, "config.json")):
        print("skipped: no reference model", MODEL)
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="cwp-plugins-") as folder:
        plugins = os.path.join(folder, "plugins")
        os.mkdir(plugins)
        for name in ("cpu", "static", "fisher"):
            shutil.copy(os.path.join(PLUGINS, name + ".so"), plugins)
        shutil.copy(os.path.join(PLUGINS, "fisher.so"), os.path.join(plugins, "renamed.so"))
        zoo = os.path.join(BUILD, "tests", "plugins", "zoo", ".libs")
        for scorer, _, _, _ in CASES:
            mock = os.path.join(zoo, scorer.replace("-", "_") + ".so")
            if os.path.exists(mock):
                shutil.copy(mock, os.path.join(plugins, scorer + ".so"))
        with open(os.path.join(folder, "samples.jsonl"), "w", encoding="utf-8") as f:
            f.write('{"ids": [1, 2, 3, 4, 5], "weights": [0, 0.25, 0.25, 0.25, 0.25]}\n')
        for scorer, quantizer, status, text in CASES:
            path = os.path.join(folder, "job.yaml")
            with open(path, "w", encoding="utf-8") as f:
                f.write(JOB.format(model=MODEL, folder=folder, scorer=scorer, quantizer=quantizer))
            done = subprocess.run([os.path.join(BUILD, "cwp-worker"), "run", path, "--plugin-dir", plugins, "--threads", "2"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            said = done.stdout.decode("utf-8", "replace")
            assert done.returncode == status, (scorer, done.returncode, said)
            assert text in said, (scorer, said)
            written = os.path.exists(os.path.join(folder, "out", "manifest.json"))
            assert written == (status == 0), (scorer, os.listdir(folder))
    print("%d jobs end as they should" % len(CASES))


if __name__ == "__main__":
    main()

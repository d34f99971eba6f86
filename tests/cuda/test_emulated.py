#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Kernels of the CUDA backend for elements, rows and columns, and for GPTQ, compiled for the CPU and run thread by thread, against the CPU
backend: indices, barriers and arithmetic, without a GPU or CUDA's toolkit. In a build with sanitizers kernels have them too.

Exit: 0, 1, or 77 when there is no C++ compiler.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

SOURCE = os.environ.get("CWP_SRCDIR", os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("CWP_BUILDDIR", ".")
HERE = os.path.join(SOURCE, "tests/cuda/emulated")
CUDA = os.path.join(SOURCE, "plugins/backends/cuda")
KERNELS = ["act_stats", "elements", "fake_quant", "glu", "gptq_factor", "gptq_round", "histogram", "norm", "rope", "rows_by_number", "xent"]
OPERATIONS = ["act_stats", "elements", "fake_quant", "glu", "gptq", "norm", "rows_by_number", "xent"]
TESTS = ["test_elements", "test_gptq", "test_rows"]
FLAGS = ["-O1", "-g", "-U_FORTIFY_SOURCE", "-fPIC", "-ffp-contract=off", "-fno-math-errno"]


def closing(text, at):
    """Where the bracket that opens at `at` closes."""
    pairs = {"(": ")", "[": "]", "{": "}", "<": ">"}
    end, depth = pairs[text[at]], 0
    for i in range(at, len(text)):
        depth += (text[i] == text[at]) - (text[i] == end)
        if depth == 0:
            return i
    raise ValueError(f"nothing closes: {text[at:at + 60]}")


def parts(text):
    """Arguments, cut at commas outside of brackets."""
    result, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            result.append(text[start:i])
            start = i + 1
    return result + [text[start:]]


def translate(text):
    """kernel<<<blocks, threads, 0, stream>>>(arguments) becomes a call of the emulator."""
    while "<<<" in text:
        at = text.index("<<<")
        name = re.search(r"[\w]+\s*(<[^;{}]*>)?\s*$", text[:at])
        end = text.index(">>>", at)
        blocks, threads = parts(text[at + 3:end])[:2]
        last = closing(text, end + 3)
        call = f"emulated_start({blocks}, {threads}, [&] {{ {name.group().strip()}{text[end + 3:last + 1]}; }})"
        text = text[:name.start()] + call + text[last + 1:]
    return text


def sanitizers():
    """Flags, where the build has them."""
    try:
        with open(os.path.join(BUILD, "Makefile"), encoding="utf-8") as f:
            flags = re.search(r"^CWP_CFLAGS = (.*)$", f.read(), re.M)
    except OSError:
        return []
    return re.findall(r"-fsanitize=\S+|-fno-sanitize-recover=\S+", flags.group(1)) if flags else []


def run(command, **more):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if p.returncode:
        print(" ".join(command), p.stdout, sep="\n")
    return p.returncode


def build(folder, cxx, cc):
    """The plugin's path, or None."""
    os.makedirs(os.path.join(folder, "plugins/backends/cuda"))
    for name in ["plugins/backends/cuda/rows.cuh"] + [f"plugins/backends/cuda/{k}.cu" for k in KERNELS]:
        with open(os.path.join(SOURCE, name), encoding="utf-8") as f:
            text = translate(f.read())
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    flags = FLAGS + sanitizers()
    include = [f"-I{folder}", f"-I{HERE}/include", f"-I{SOURCE}", f"-I{SOURCE}/include"]
    commands, objects = [], []
    for k in KERNELS:
        objects.append(os.path.join(folder, f"{k}.cu.o"))
        commands.append([cxx, "-std=c++17", "-x", "c++", "-D__CUDACC__", "-Wno-unknown-pragmas", *flags, *include, "-c",
            os.path.join(folder, f"plugins/backends/cuda/{k}.cu"), "-o", objects[-1]])
    objects.append(os.path.join(folder, "emulator.o"))
    # Without sanitizers: it changes stacks.
    commands.append([cxx, "-std=c++17", *FLAGS, *include, "-c", os.path.join(HERE, "emulator.cc"), "-o", objects[-1]])
    for c in [os.path.join(CUDA, f"{o}.c") for o in OPERATIONS] + [os.path.join(HERE, "backend.c")]:
        objects.append(os.path.join(folder, os.path.basename(c) + ".o"))
        commands.append([cc, "-std=gnu11", *flags, *include, "-c", c, "-o", objects[-1]])
    with ThreadPoolExecutor(2) as pool:
        if any(list(pool.map(run, commands))):
            return None
    plugin = os.path.join(folder, "emulated.so")
    return None if run([cxx, "-shared", *sanitizers(), "-o", plugin, *objects]) else plugin


def main():
    cxx = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    cc = shutil.which("cc") or shutil.which("gcc")
    if not cxx or not cc:
        print("skipped: there is no C++ compiler")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        plugin = build(folder, cxx, cc)
        if plugin is None:
            return 1
        # Contexts of threads are memory that the sanitizer does not know as stacks.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_stack_use_after_return=0:detect_leaks=0"
        environment = dict(os.environ, CWP_TEST_BACKEND=plugin, CWP_EMULATED_ORDER="random", CWP_TEST_SIZES="tiny",
            ASAN_OPTIONS=options.strip(":"))
        with ThreadPoolExecutor(len(TESTS)) as pool:
            codes = list(pool.map(lambda test: run([os.path.join(BUILD, "tests/cuda", test)], env=environment), TESTS))
    for test, code in zip(TESTS, codes):
        print(f"{test}: {'ok' if code == 0 else code}")
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())

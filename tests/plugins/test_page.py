#!/usr/bin/env python3
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""cwp-plugin(7) tells the truth: its option tables are those of the plugins, and its example builds out of tree, with
nothing but the SDK's headers, as C99 and as C++11, and is accepted.

With --print, prints the section PLUGINS OF THE PROJECT as it should be.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

SRC = os.environ.get("CWP_SRCDIR", ".")
BUILD = os.environ.get("CWP_BUILDDIR", ".")
PLUGINS = ["gradient", "wanda", "fisher", "control", "static", "int8", "fp8",
           "crows-pairs", "stereoset", "bbq", "mbbq", "mmlu", "perplexity", "refusal", "refusal-odds", "drift", "bbh"]


def probe(path):
    done = subprocess.run([os.path.join(BUILD, "cwp-probe"), path], stdout=subprocess.PIPE)
    return done.returncode, json.loads(done.stdout)


def wrap(text):
    """Text lines of mdoc: each sentence on a line of its own, at most 78 bytes."""
    text = text[0].upper() + text[1:] + "."
    return "\n".join(textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False))


def section():
    lines = []
    for name in PLUGINS:
        status, p = probe(os.path.join(BUILD, "plugins", ".libs", name + ".so"))
        assert status == 0, p
        lines += [".Ss %s (%s)" % (p["id"], p["kind"]), wrap(p["summary"])]
        if not p["options"]:
            lines.append("It has no options.")
            continue
        lines.append(".Bl -tag -width Ds")
        for o in p["options"]:
            facts = [o["type"]]
            if o["range"] is not None:
                facts.append(o["range"] + (" " + o["unit"] if o["unit"] else ""))
            facts.append("default " + o["default"])
            lines += ['.It Cm %s Pq "%s"' % (o["name"], "; ".join(facts)), wrap(o["help"])]
        lines.append(".El")
    return "\n".join(lines)


def page():
    with open(os.path.join(SRC, "man", "cwp-plugin.7"), encoding="utf-8") as f:
        return f.read()


def test_tables():
    found = re.search(r"^\.Sh PLUGINS OF THE PROJECT\n(.*?)\n\.Sh ", page(), re.S | re.M).group(1)
    wanted = section()
    assert found == wanted, "section PLUGINS OF THE PROJECT should read:\n" + wanted


def test_example(compiler, flags, suffix):
    if shutil.which(compiler[0]) is None:
        print("no %s here: this half is skipped" % compiler[0])
        return
    text = re.search(r"^\.Bd -literal\n(#include.*?)^\.Ed$", page(), re.S | re.M).group(1).replace("\\e", "\\")
    with tempfile.TemporaryDirectory(prefix="cwp-page-") as folder:
        # A copy of the headers and nothing else of the tree.
        shutil.copytree(os.path.join(SRC, "include", "cwp"), os.path.join(folder, "include", "cwp"))
        source = os.path.join(folder, "magnitude" + suffix)
        with open(source, "w", encoding="utf-8") as f:
            f.write(text)
        out = os.path.join(folder, "magnitude.so")
        command = compiler + flags + ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden",
                                      "-Wl,-z,defs", "-I", os.path.join(folder, "include"), "-o", out, source, "-lm"]
        subprocess.run(command, check=True)
        status, p = probe(out)
        assert status == 0, p
        assert (p["id"], p["kind"], p["abi"]) == ("magnitude", "scorer", "1.0"), p
        assert [o["name"] for o in p["options"]] == ["power"], p


def test_lint():
    if shutil.which("mandoc") is None:
        print("no mandoc here: the page's markup is not checked")
        return
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", os.path.join(SRC, "man", "cwp-plugin.7")], stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout.decode()


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        print(section())
        sys.exit(0)
    test_tables()
    test_example((os.environ.get("CC") or "cc").split(), ["-std=c99"], ".c")
    test_example((os.environ.get("CXX") or "c++").split(), ["-std=c++11"], ".cc")
    test_lint()
    print("the page's tables are the plugins' own; its example builds and loads as C99 and C++11")

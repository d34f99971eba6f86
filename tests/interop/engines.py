# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Finds the interpreter that has the reference engines, for the tests of this folder."""
import importlib
import os
import sys

CACHE = os.environ.get("CWP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cwp")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def find_python(needed=("compressed_tensors", "torch", "transformers")):
    """Runs the script again with the interpreter that has the reference engines, or what else is needed."""
    try:
        for name in needed:
            importlib.import_module(name)
        return
    except ImportError:
        pass
    other = os.environ.get("CWP_PYTHON") or os.path.join(CACHE, "venv", "bin", "python")
    if os.environ.get("CWP_INTEROP_AGAIN") or not os.access(other, os.X_OK):
        skip("%s are not all installed (scripts/packages --python)" % ", ".join(needed))
    os.environ["CWP_INTEROP_AGAIN"] = "1"
    os.execv(other, [other] + sys.argv)

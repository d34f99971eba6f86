# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: the interpreter that has the reference engines, what they need and skip without, checks
that are counted, and models of transformers."""
import glob
import importlib
import importlib.util
import os
import sys

CACHE = os.environ.get("CWP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cwp")

SHARED = os.environ.get("CWP_SHARED", "")
GOLDEN = os.path.join(SHARED, "golden")
failures = []  # what check() found

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def need_golden(name):
    """Skips without the small reference models, of which this is one."""
    if not os.path.exists(os.path.join(GOLDEN, name, "config.json")):
        skip("no reference models below CWP_SHARED (%s)" % (SHARED or "not set"))


def need_package(name):
    try:
        importlib.import_module(name)
    except ImportError:
        skip("%s is not installed (scripts/packages --python)" % name)


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


def add_gptq():
    """Whether GPT-QModel is there: in an environment of its own, so that other tests do not import it. Called before
    transformers is imported."""
    folders = glob.glob(os.path.join(CACHE, "gptq", "lib", "python3*", "site-packages"))
    sys.path.extend(folders)
    try:
        return all(importlib.util.find_spec(name) is not None for name in ("gptqmodel", "optimum"))
    except ImportError:
        return False


def check(good, what):
    print("ok  " if good else "FAIL", what, flush=True)
    if not good:
        failures.append(what)


def report(what, good, value):
    check(good, "%s: %s" % (what, value))


def quiet(threads):
    """No progress on the terminal, and this many threads of torch."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)


def load_model(path, dtype="float32", **more):
    """A model of transformers; what a checkpoint lacks, has too much or has in another shape is an error."""
    import transformers

    model, info = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True, **more)
    for kind, found in info.items():
        if found:
            raise AssertionError("%s: %s: %s" % (path, kind, found))
    return model.eval()


def run_model(model, ids):
    """Logits in float32."""
    import torch

    with torch.no_grad():
        return model(ids).logits.float()

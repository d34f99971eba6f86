# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""AWQ as published (arXiv 2306.00978) in plain numpy, symmetric, protected weights without error; and the reader of what
bench/awq-error-run writes."""
import json

import numpy as np


def bf16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def round_to(weight, most, bits):
    """weight [rows, groups, group] on the grid whose range ends at most [rows, groups]."""
    scale = bf16(most / np.float32(2 ** (bits - 1) - 1))
    scale = np.where(scale > 0, scale, np.float32(1))[:, :, None]
    return np.clip(np.rint(weight / scale), -2 ** (bits - 1), 2 ** (bits - 1) - 1) * scale


def grouped(x, group):
    return x.reshape(x.shape[0], -1, group)


def ranges(weight, mask):
    return np.abs(np.where(mask, 0, weight)).max(axis=2)


def product(e, gram):
    """Squared error of the outputs of all rows: tr(e x^T x e^T)."""
    return float(np.sum((e @ gram) * e, dtype=np.float64))


def search(readers, mean, group, bits, columns):
    """The best scales of the channels that `readers` (dictionaries with weight, gram, mask) have in common; columns: the channel of
    each column."""
    best, found = None, None
    for i in range(20):
        scale = np.maximum(mean ** (i / 20), 1e-4)
        scale = (scale / np.sqrt(scale.max() * scale.min())).astype(np.float32)[columns]
        total = 0.0
        for r in readers:
            w, mask = grouped(r["weight"] * scale, group), grouped(r["mask"], group)
            e = round_to(w, ranges(w, mask), bits).reshape(r["weight"].shape) / scale - r["weight"]
            total += product(np.where(r["mask"], 0, e).astype(np.float32), r["gram"])
        if best is None or total < best:
            best, found = total, scale
    return found


def clip(weight, mask, gram, group, bits):
    """Ranges [rows, groups] that leave the least error at the output, each group for itself."""
    w, m = grouped(weight, group), grouped(mask, group)
    whole, least, found = ranges(w, m), None, None
    for i in range(10):
        most = (whole * np.float32(1 - i / 20)).astype(np.float32)
        e = np.where(m, 0, round_to(w, most, bits) - w).astype(np.float32)
        error = np.stack([np.sum((e[:, g] @ gram[g * group:(g + 1) * group, g * group:(g + 1) * group]) * e[:, g], axis=1, dtype=np.float64)
            for g in range(w.shape[1])], axis=1)
        better = np.ones_like(error, bool) if least is None else error < least
        least = np.where(better, error, least) if least is not None else error
        found = np.where(better, most, found) if found is not None else most
    return found


def layer(modules, group, bits, heads=None):
    """Errors of one decoder layer's Linears, names as llama has them. modules: name -> dictionary with weight, gram, abs, mask,
    tokens, scores; heads: (query heads, heads of keys and values). -> name -> squared error."""
    columns, rows, errors = {}, {}, {}
    inputs = {}
    for name, m in modules.items():
        inputs.setdefault(m["input"], []).append(name)
    for names in inputs.values():
        first = modules[names[0]]
        cols = np.arange(first["weight"].shape[1])
        if names[0].endswith("o_proj"):
            width = len(cols) // heads[0]
            cols = cols // width * heads[1] // heads[0] * width + cols % width
        mean = np.bincount(cols, first["abs"]) / np.bincount(cols) / first["tokens"]
        scale = search([modules[n] for n in names], mean, group, bits, cols)
        columns.update({n: scale for n in names})
        made = {"o_proj": "v_proj", "down_proj": "up_proj"}.get(names[0].split(".")[-1])
        if made:
            producer = next(n for n in modules if n.endswith(made))
            rows[producer] = scale[np.unique(cols, return_index=True)[1]]
    for name, m in modules.items():
        by_row = rows.get(name, np.ones(len(m["weight"]), np.float32))[:, None]
        w = (m["weight"] * columns[name] / by_row).astype(np.float32)
        gram = (m["gram"] / np.outer(columns[name], columns[name])).astype(np.float32)
        most = ranges(grouped(w, group), grouped(m["mask"], group)) if m["scores"] else clip(w, m["mask"], gram, group, bits)
        q = round_to(grouped(w, group), most, bits).reshape(w.shape)
        errors[name] = error(m, q, columns[name], by_row[:, 0], m["mask"])
    return errors


def error(m, value, column, row, mask=None):
    """Of what the scaled module computes with, at the output of the original."""
    e = value * row[:, None] / column - m["weight"]
    return product((e if mask is None else np.where(mask, 0, e)).astype(np.float64), m["gram"].astype(np.float64))


def read(stream):
    """One layer after another: (module name -> what there is to know, [way] -> module name -> (columns, rows, value))."""
    def array(dtype, *shape):
        n = int(np.prod(shape))
        data = np.frombuffer(stream.read(n * np.dtype(dtype).itemsize), dtype)
        assert data.size == n, "the stream ends early"
        return data.reshape(shape)

    modules, ways = {}, ({}, {})
    while True:
        text = stream.readline()
        m = json.loads(text) if text else None
        if ways[1] and (m is None or "way" not in m):
            yield modules, ways
            modules, ways = {}, ({}, {})
        if m is None:
            return
        if "way" in m:
            n, k = modules[m["module"]]["weight"].shape
            ways[m["way"]][m["module"]] = (array("<f4", k), array("<f4", n), array("<f4", n, k))
            continue
        if "inputs" in m:
            x = array("<f4", m["tokens"], m["cols"])
            for other in modules.values():
                if other["input"] == m["inputs"]:
                    other.setdefault("x", []).append(x)
            continue
        rows, cols = m["rows"], m["cols"]
        m["weight"], m["gram"], m["abs"] = array("<f4", rows, cols), array("<f4", cols, cols), array("<f8", cols)
        m["mask"] = np.unpackbits(array("u1", rows, (cols + 7) // 8), axis=1, bitorder="little")[:, :cols].astype(bool)
        modules[m["module"]] = m

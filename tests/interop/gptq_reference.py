# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""GPTQ as published (arXiv 2210.17323), in f64 and plain numpy, with protected weights exact inside the loop; and the reader
of what bench/gptq-error-run writes."""
import json

import numpy as np

BLOCK = 128


def factor(gram, damping, order):
    """The upper triangular factor U of the inverse, H^-1 = U^T U, of H with its columns in `order`."""
    h = gram.astype(np.float64)
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    h[np.diag_indices(len(h))] += damping * np.mean(np.diag(h))
    return np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T


def gptq(weight, upper, scales, zeros, group, bits, order, mask=None, compensated=False):
    """What remains of weight [rows, cols] on the grid of given scales and zero points [rows, groups], columns in `order`."""
    w = weight.astype(np.float64)
    rows, cols = w.shape
    low, high = -2 ** (bits - 1), 2 ** (bits - 1) - 1
    w, result = w[:, order].copy(), np.zeros_like(w)
    for i, column in enumerate(order):
        if i % BLOCK == 0:  # errors of a block reach the columns behind it together, those within it at once
            begin, end, errors = i, min(i + BLOCK, cols), np.zeros((rows, BLOCK))
        scale = scales[:, column // group].astype(np.float64)
        zero = zeros[:, column // group].astype(np.float64)
        q = (np.clip(np.rint(w[:, i] / scale) + zero, low, high) - zero) * scale
        if mask is not None:
            exact = w[:, i] if compensated else weight[:, column]
            q = np.where(mask[:, column], exact, q)
        result[:, column] = q
        errors[:, i - begin] = (w[:, i] - q) / upper[i, i]
        w[:, i + 1:end] -= np.outer(errors[:, i - begin], upper[i, i + 1:end])
        if i + 1 == end:
            w[:, end:] -= errors[:, :end - begin] @ upper[begin:end, end:]
    return result


def error(quantized, weight, gram):
    """Squared error of the module's output, summed over all tokens: tr(E X^T X E^T)."""
    e = (quantized.astype(np.float64) - weight).astype(np.float32)
    return float(np.sum((e @ gram) * e, dtype=np.float64))


def read(stream, ways):
    """One Linear after another: dictionaries with module, weight, gram, mask and ways (scales, zeros, value and what the line
    says)."""
    def array(dtype, *shape):
        n = int(np.prod(shape))
        data = np.frombuffer(stream.read(n * np.dtype(dtype).itemsize), dtype)
        assert data.size == n, "the stream ends early"
        return data.reshape(shape)

    while True:
        line = stream.readline()
        if not line:
            return
        m = json.loads(line)
        rows, cols = m["rows"], m["cols"]
        assert len(m["ways"]) == ways
        m["weight"], m["gram"] = array("<f4", rows, cols), array("<f4", cols, cols)
        m["mask"] = np.unpackbits(array("u1", rows, (cols + 7) // 8), axis=1, bitorder="little")[:, :cols].astype(bool)
        for w in m["ways"]:
            w["group"] = w["group"] or cols
            groups = -(-cols // w["group"])
            w["scales"], w["zeros"], w["value"] = array("<f4", rows, groups), array("i1", rows, groups), array("<f4", rows, cols)
        yield m


def options_of(way):
    """"+bits=4,algorithm=gptq" -> (protected, {"bits": "4", ..})."""
    return way.startswith("+"), dict(text.split("=") for text in way.lstrip("+").split(","))


def compare(m, ways, reference=True):
    """Of a Linear as read() gives it: for each way our error, and that of the published algorithm (NaN where the way is no GPTQ or
    there is to be no reference)."""
    rows, factors = [], {}
    for way, w in zip(ways, m["ways"]):
        masked, o = options_of(way)
        theirs = float("nan")
        if reference and o.get("algorithm") == "gptq":
            by_size, damping = o.get("act-order", "true") == "true", float(o.get("damping", "0.01"))
            order = np.argsort(-np.diag(m["gram"]), kind="stable") if by_size else np.arange(m["cols"])
            if (by_size, damping) not in factors:
                factors[by_size, damping] = factor(m["gram"], damping, order)
            q = gptq(m["weight"], factors[by_size, damping], w["scales"], w["zeros"], w["group"], int(o.get("bits", "8")), order,
                m["mask"] if masked else None, o.get("protected", "compensated") == "compensated")
            theirs = error(q, m["weight"], m["gram"])
        rows.append((error(w["value"], m["weight"], m["gram"]), theirs))
    return rows

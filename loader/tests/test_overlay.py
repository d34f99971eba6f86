# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""protected.safetensors: the example of doc/overlay.md, every refusal, and random masks in both forms."""
import os
import tempfile
import unittest

import torch
from safetensors.torch import save_file

from cwp_loader import CheckpointError, Overlay


def gap_bytes(columns):
    out, at = [], 0
    for column in columns:
        gap = column - at
        while gap >= 255:
            out.append(255)
            gap -= 255
        out.append(gap)
        at = column + 1
    return out


def encode(mask, weight, bitmap):
    """The tensors of a module, made the slow way."""
    rows, cols = mask.shape
    values = weight[mask]
    if bitmap:
        bits = torch.zeros(rows, (cols + 7) // 8, dtype=torch.uint8)
        for r, c in mask.nonzero().tolist():
            bits[r, c // 8] |= 1 << (c % 8)
        start = [0] + mask.sum(1).cumsum(0).tolist()
        return {"start": torch.tensor(start, dtype=torch.uint32), "bitmap": bits, "values": values}
    gaps, start, escapes = [], [0], [0]
    for r in range(rows):
        row = gap_bytes(mask[r].nonzero().squeeze(1).tolist())
        gaps += row
        start.append(len(gaps))
        escapes.append(escapes[-1] + row.count(255))
    parts = {"start": torch.tensor(start, dtype=torch.uint32), "gaps": torch.tensor(gaps, dtype=torch.uint8), "values": values}
    if escapes[-1]:
        parts["escapes"] = torch.tensor(escapes, dtype=torch.uint32)
    return parts


class OverlayTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cwp-loader-")
        self.addCleanup(self.folder.cleanup)

    def write(self, parts, module="m", version="1"):
        path = os.path.join(self.folder.name, "protected.safetensors")
        save_file({f"{module}.{kind}": tensor.contiguous() for kind, tensor in parts.items()}, path,
                  {"cwp.overlay": version} if version else None)
        return path

    def read(self, parts, rows, cols):
        return Overlay(self.write(parts)).read("m", rows, cols)

    def example(self):
        return {"start": torch.tensor([0, 3, 3, 4], dtype=torch.uint32), "escapes": torch.tensor([0, 1, 1, 1], dtype=torch.uint32),
                "gaps": torch.tensor([2, 255, 41, 0], dtype=torch.uint8), "values": torch.tensor([1.5, -2.5, 3.5])}

    def test_example(self):
        positions, values = self.read(self.example(), 3, 300)
        self.assertEqual(positions.tolist(), [2, 299, 600])
        self.assertEqual(values.tolist(), [1.5, -2.5, 3.5])
        bits = torch.zeros(3, 38, dtype=torch.uint8)
        bits[0, 0], bits[0, 37], bits[2, 0] = 4, 8, 1
        positions, values = self.read({"start": torch.tensor([0, 2, 2, 3], dtype=torch.uint32), "bitmap": bits,
                                       "values": torch.tensor([1.5, -2.5, 3.5])}, 3, 300)
        self.assertEqual(positions.tolist(), [2, 299, 600])

    def test_random(self):
        generator = torch.Generator().manual_seed(3)
        for rows, cols, share in ((1, 1, 1.0), (5, 7, 0.5), (16, 2000, 0.004), (8, 640, 0.0), (3, 513, 1.0), (31, 33, 0.1)):
            mask = torch.rand(rows, cols, generator=generator) < share
            weight = torch.randn(rows, cols, generator=generator).to(torch.bfloat16)
            for bitmap in (False, True):
                positions, values = self.read(encode(mask, weight, bitmap), rows, cols)
                self.assertTrue(torch.equal(positions, mask.view(-1).nonzero().squeeze(1)))
                self.assertTrue(torch.equal(values, weight[mask]))

    def refuse(self, what, rows=3, cols=300, **changes):
        parts = {kind: t for kind, t in {**self.example(), **changes}.items() if t is not None}
        with self.assertRaisesRegex(CheckpointError, what):
            self.read(parts, rows, cols)

    def test_refusals(self):
        u32, u8 = torch.uint32, torch.uint8
        self.refuse("rows", rows=4)
        self.refuse("beyond its 299 columns", cols=299)
        self.refuse("start does not ascend", start=torch.tensor([0, 3, 2, 4], dtype=u32))
        self.refuse("start does not ascend", start=torch.tensor([1, 3, 3, 4], dtype=u32))
        self.refuse("start does not ascend", start=torch.tensor([0, 3, 3, 5], dtype=u32))
        self.refuse("start does not ascend", rows=3, cols=2)
        self.refuse("escapes do not count", escapes=torch.tensor([0, 0, 0, 0], dtype=u32))
        self.refuse("escapes do not count", escapes=None)
        self.refuse("ends with an escape", gaps=torch.tensor([2, 255, 255, 0], dtype=u8), escapes=torch.tensor([0, 2, 2, 2], dtype=u32))
        self.refuse("values", values=torch.tensor([1.5, -2.5]))
        self.refuse("needs the tensors", values=None)
        self.refuse("needs the tensors", bitmap=torch.zeros(3, 38, dtype=u8))
        self.refuse("start is torch.int32", start=torch.tensor([0, 3, 3, 4], dtype=torch.int32))
        self.refuse("not part of an overlay", other=torch.zeros(1))
        bits = torch.zeros(3, 38, dtype=u8)
        bits[0, 37] = 0x10
        self.refuse("behind the last column", gaps=None, escapes=None, bitmap=bits)
        bits[0, 37] = 8
        self.refuse("count the bits", gaps=None, escapes=None, bitmap=bits)
        self.refuse("its bitmap is", gaps=None, escapes=None, bitmap=torch.zeros(3, 37, dtype=u8))
        with self.assertRaisesRegex(CheckpointError, "version"):
            Overlay(self.write(self.example(), version="2"))
        with self.assertRaisesRegex(CheckpointError, "version"):
            Overlay(self.write(self.example(), version=None))


if __name__ == "__main__":
    unittest.main()

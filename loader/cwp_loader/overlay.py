# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Reads protected.safetensors: where the protected weights are and what they are. doc/overlay.md of cwpd describes the
file byte for byte; everything that it says a reader checks is checked here."""
import os

import torch
from safetensors import safe_open

from .errors import CheckpointError

FILE = "protected.safetensors"
KEY, VERSION = "cwp.overlay", "1"
ESCAPE = 255
KINDS = {"start": (torch.uint32, 1), "escapes": (torch.uint32, 1), "gaps": (torch.uint8, 1), "bitmap": (torch.uint8, 2),
         "values": (None, 1)}


class Overlay:
    """The protected weights of a checkpoint, module by module; the file stays open."""

    def __init__(self, path):
        self.path = path
        self.modules = {}  # name -> set of the kinds of its tensors
        self.file = safe_open(path, "pt")
        version = (self.file.metadata() or {}).get(KEY)
        if version != VERSION:
            raise CheckpointError(f"{path}: overlay version {version!r} is not known (known: {VERSION}): "
                                  "read it with a newer release")
        for tensor in self.file.keys():
            module, _, kind = tensor.rpartition(".")
            if not module or kind not in KINDS:
                raise CheckpointError(f"{path}: tensor \"{tensor}\" is not part of an overlay")
            self.modules.setdefault(module, set()).add(kind)
        for module, kinds in self.modules.items():
            if not {"start", "values"} <= kinds or ("gaps" in kinds) == ("bitmap" in kinds) or {"bitmap", "escapes"} <= kinds:
                self._refuse(module, "it needs the tensors start, values, and either gaps or bitmap")

    @classmethod
    def open(cls, folder):
        """The overlay of a checkpoint's folder, or None where it has none."""
        path = os.path.join(folder, FILE)
        return cls(path) if os.path.exists(path) else None

    def read(self, module, rows, cols):
        """(positions, values) of a module's weight [rows, cols]: row * cols + column, int64, ascending; and the exact
        values in the dtype of the source."""
        parts = self._tensors(module)
        start = parts["start"]
        if start.numel() != rows + 1:
            self._refuse(module, f"it has {start.numel() - 1} rows, its weight has {rows}")
        if "bitmap" in parts:
            positions = self._from_bitmap(module, parts["bitmap"], start, rows, cols)
        else:
            positions = self._from_gaps(module, parts["gaps"], start, parts.get("escapes"), rows, cols)
        if positions.numel() != parts["values"].numel():
            self._refuse(module, f"{positions.numel()} positions have {parts['values'].numel()} values")
        return positions, parts["values"]

    def _refuse(self, module, what):
        raise CheckpointError(f"{self.path}: module \"{module}\": {what}: the file is damaged, write the output again")

    def _tensors(self, module):
        parts = {}
        for kind in self.modules[module]:
            tensor = self.file.get_tensor(f"{module}.{kind}")
            dtype, rank = KINDS[kind]
            if tensor.dim() != rank or (tensor.dtype != dtype if dtype else
                                        tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16)):
                self._refuse(module, f"{kind} is {tensor.dtype} of rank {tensor.dim()}")
            parts[kind] = tensor.to(torch.int64) if dtype == torch.uint32 else tensor
        return parts

    def _check_ascending(self, module, name, offsets, end, per_row):
        growth = offsets[1:] - offsets[:-1]
        if offsets[0] != 0 or offsets[-1] != end or bool((growth < 0).any()) or bool((growth > per_row).any()):
            self._refuse(module, f"{name} does not ascend from 0 to {end}")

    def _from_bitmap(self, module, bitmap, start, rows, cols):
        if tuple(bitmap.shape) != (rows, (cols + 7) // 8):
            self._refuse(module, f"its bitmap is {tuple(bitmap.shape)}, its weight [{rows}, {cols}]")
        bits = (bitmap.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1
        bits = bits.reshape(rows, -1)
        if bool(bits[:, cols:].any()):
            self._refuse(module, "its bitmap has bits behind the last column")
        count = bits.sum(dim=1, dtype=torch.int64)
        if start[0] != 0 or not torch.equal(start[1:], count.cumsum(0)):
            self._refuse(module, "start does not count the bits of its rows")
        return bits[:, :cols].reshape(-1).nonzero().squeeze(1)

    def _from_gaps(self, module, gaps, start, escapes, rows, cols):
        self._check_ascending(module, "start", start, gaps.numel(), cols)
        escaped = gaps == ESCAPE
        before = torch.zeros(gaps.numel() + 1, dtype=torch.int64)
        torch.cumsum(escaped, 0, out=before[1:])
        counted = before[start]
        if not torch.equal(counted, escapes if escapes is not None else torch.zeros_like(start)):
            self._refuse(module, "escapes do not count the escapes of its rows")
        last = start[1:][start[1:] > start[:-1]] - 1
        if bool(escaped[last].any()):
            self._refuse(module, "a row ends with an escape")
        # How far each byte gets, counted from the beginning of its row.
        reach = torch.zeros(gaps.numel() + 1, dtype=torch.int64)
        torch.cumsum(gaps.to(torch.int64) + (~escaped), 0, out=reach[1:])
        row = torch.repeat_interleave(torch.arange(rows), start[1:] - start[:-1])
        column = reach[1:] - reach[start[:-1]][row] - 1
        if bool((column[~escaped] >= cols).any()):
            self._refuse(module, f"a gap reaches beyond its {cols} columns")
        return (row * cols + column)[~escaped]

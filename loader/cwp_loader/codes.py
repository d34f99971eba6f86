# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""What the formats have in common: codes, scales and zero points of one module, and the weight that they stand for."""
import torch

from .errors import CheckpointError


def unpack(words, bits, count):
    """Words of 32 bits [n, words] -> codes [n, count]: int8, with the offset 2^(bits - 1) taken off."""
    per_byte = 8 // bits
    raw = words.contiguous().view(torch.uint8)
    if per_byte > 1:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=raw.device)
        raw = ((raw.unsqueeze(-1) >> shifts) & (2**bits - 1)).reshape(raw.shape[0], -1)
    return (raw[:, :count].to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)


class Codes:
    """One module's codes, checked. The tensors are kept as they are in the file; dequantize() makes the weight of them.

    codes: I8 or F8 [rows, columns]; with bits, words of 32 bits [rows, words] that are packed along the columns.
    scale: [rows or 1, groups], or [blocks of rows, blocks of columns] with block.
    zero: [rows or 1, groups], or None where codes are symmetric.
    shape, bits: of packed codes; bits 0: a byte each.
    block: (rows, columns) that share a scale, where the configuration says so."""

    def __init__(self, name, codes, scale, zero=None, shape=None, bits=0, block=None):
        self.name, self.codes, self.scale, self.zero, self.bits, self.block = name, codes, scale, zero, bits, block
        if bits:
            self.rows, self.cols = (int(n) for n in shape)
            if self.rows < 1 or self.cols < 1 or codes.dtype != torch.int32 or \
                    tuple(codes.shape) != (self.rows, (self.cols * bits + 31) // 32):
                raise CheckpointError(f"\"{name}\": packed codes are {codes.dtype} of shape {tuple(codes.shape)}, which is no "
                                      f"weight of [{self.rows}, {self.cols}] with {bits} bits")
        else:
            if codes.dtype not in (torch.int8, torch.float8_e4m3fn) or codes.dim() != 2:
                raise CheckpointError(f"\"{name}\": codes of {codes.dtype} and shape {tuple(codes.shape)} are not known")
            self.rows, self.cols = codes.shape
        self._check()

    def _check(self):
        if self.scale.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise CheckpointError(f"\"{self.name}\": scales are {self.scale.dtype}")
        if self.scale.numel() == 1:  # of the whole matrix
            self.scale = self.scale.reshape(1, 1)
            self.zero = self.zero.reshape(1, 1) if self.zero is not None and self.zero.numel() == 1 else self.zero
        scales = tuple(self.scale.shape)
        if self.block:
            if scales != tuple(-(-n // b) for n, b in zip((self.rows, self.cols), self.block)) or self.zero is not None:
                raise CheckpointError(f"\"{self.name}\": scales {scales} do not fit blocks of {self.block} in a weight of "
                                      f"[{self.rows}, {self.cols}]")
            return
        if len(scales) != 2 or scales[0] not in (1, self.rows) or not scales[1] or self.cols % scales[1]:
            raise CheckpointError(f"\"{self.name}\": scales {scales} do not fit a weight of [{self.rows}, {self.cols}]")
        if self.zero is not None and tuple(self.zero.shape) != scales:
            raise CheckpointError(f"\"{self.name}\": zero points {tuple(self.zero.shape)} do not fit scales {scales}")

    def tensors(self):
        """The tensors that dequantize() needs, by name."""
        scale = self.scale
        if self.block:  # the last block of a row may have fewer columns, and the last ones fewer rows
            scale = scale.repeat_interleave(self.block[0], 0)[:self.rows]
            if self.cols % self.block[1] and scale.shape[1] > 1:
                scale = scale.repeat_interleave(self.block[1], 1)[:, :self.cols]
        parts = {"codes": self.codes, "scale": scale.contiguous()}
        if self.zero is not None:
            parts["zero"] = self.zero.to(torch.int8).contiguous()
        return parts

    def dequantize(self, dtype):
        """The weight [rows, cols], protected places not yet in it."""
        return dequantize(dtype=dtype, bits=self.bits, cols=self.cols, **self.tensors())


def dequantize(codes, scale, zero=None, *, dtype, bits, cols):
    """(code - zero point) * scale in f32, rounded to dtype once. bits 0: the codes are not packed."""
    if bits:
        codes = unpack(codes, bits, cols)
    rows, groups = codes.shape[0], scale.shape[1]
    weight = codes.to(torch.float32).reshape(rows, groups, cols // groups)
    if zero is not None:
        weight = weight - zero.to(torch.float32).unsqueeze(-1)
    return (weight * scale.to(torch.float32).unsqueeze(-1)).reshape(rows, cols).to(dtype)

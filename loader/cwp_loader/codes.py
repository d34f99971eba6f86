# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The quantized tensors of compressed-tensors, as cwpd writes them: codes, scales and zero points of one module."""
import torch

from .errors import CheckpointError

SUFFIXES = ("weight_packed", "weight", "weight_scale", "weight_zero_point", "weight_shape", "input_scale")


def unpack(words, bits, count):
    """Words of 32 bits [n, words] -> codes [n, count]: int8, with the offset 2^(bits - 1) taken off."""
    per_byte = 8 // bits
    raw = words.contiguous().view(torch.uint8)
    if per_byte > 1:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=raw.device)
        raw = ((raw.unsqueeze(-1) >> shifts) & (2**bits - 1)).reshape(raw.shape[0], -1)
    return (raw[:, :count].to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)


def packed_bits(name, words, cols):
    """Bits of a code, from the words that a row takes."""
    for bits in (4, 8):
        if words == (cols * bits + 31) // 32:
            return bits
    raise CheckpointError(f"\"{name}.weight_packed\": {words} words a row hold {cols} codes of neither 4 nor 8 bits")


class Codes:
    """One module's codes. The tensors are kept as they are in the file; dequantize() makes the weight of them.

    block: (rows, columns) that share a scale, where the configuration says so."""

    def __init__(self, name, tensors, block=None):
        self.name, self.block = name, block
        self.packed = "weight_packed" in tensors
        self.codes = tensors["weight_packed" if self.packed else "weight"]
        self.scale = tensors["weight_scale"]
        self.zero = tensors.get("weight_zero_point")
        self.bits = 8
        if self.packed:
            shape = tensors.get("weight_shape")
            if shape is None or shape.numel() != 2:
                raise CheckpointError(f"\"{name}\": weight_packed comes without weight_shape")
            self.rows, self.cols = (int(n) for n in shape)
            if self.cols < 1 or self.codes.dtype != torch.int32:
                raise CheckpointError(f"\"{name}.weight_packed\": {self.codes.dtype} of shape {tuple(self.codes.shape)}")
            self.bits = packed_bits(name, self.codes.shape[-1], self.cols)
        else:
            if self.codes.dtype not in (torch.int8, torch.float8_e4m3fn):
                raise CheckpointError(f"\"{name}.weight\": codes of {self.codes.dtype} are not known")
            self.rows, self.cols = self.codes.shape
        self._check()

    def _check(self):
        if self.scale.numel() == 1:  # of the whole matrix
            self.scale = self.scale.reshape(1, 1)
            self.zero = self.zero.reshape(1, 1) if self.zero is not None and not self.packed else self.zero
        scales = tuple(self.scale.shape)
        if self.block:
            if scales != tuple(-(-n // b) for n, b in zip((self.rows, self.cols), self.block)) or self.zero is not None:
                raise CheckpointError(f"\"{self.name}\": scales {scales} do not fit blocks of {self.block} in a weight of "
                                      f"[{self.rows}, {self.cols}]")
            return
        if self.codes.shape[0] != self.rows or len(scales) != 2 or scales[0] not in (1, self.rows) or not scales[1] or \
                self.cols % scales[1]:
            raise CheckpointError(f"\"{self.name}\": scales {scales} do not fit a weight of [{self.rows}, {self.cols}]")
        if self.zero is not None:
            rows = self.rows if not self.packed else (self.rows * self.bits + 31) // 32
            if tuple(self.zero.shape) != (rows if self.packed else scales[0], scales[1]):
                raise CheckpointError(f"\"{self.name}\": zero points {tuple(self.zero.shape)} do not fit scales {scales}")

    def tensors(self):
        """The tensors that dequantize() needs, by name; the packed zero points become one byte each."""
        scale = self.scale
        if self.block:  # the last block of a row may have fewer columns, and the last ones fewer rows
            scale = scale.repeat_interleave(self.block[0], 0)[:self.rows]
            if self.cols % self.block[1] and scale.shape[1] > 1:
                scale = scale.repeat_interleave(self.block[1], 1)[:, :self.cols]
        parts = {"codes": self.codes, "scale": scale.contiguous()}
        if self.zero is not None:
            zero = self.zero
            if self.packed:
                zero = unpack(zero.t(), self.bits, self.rows).t()
            parts["zero"] = zero.to(torch.int8).contiguous()
        return parts

    def dequantize(self, dtype):
        """The weight [rows, cols], protected places not yet in it."""
        return dequantize(dtype=dtype, bits=self.bits if self.packed else 0, cols=self.cols, **self.tensors())


def dequantize(codes, scale, zero=None, *, dtype, bits, cols):
    """(code - zero point) * scale in f32, rounded to dtype once. bits 0: the codes are not packed."""
    if bits:
        codes = unpack(codes, bits, cols)
    rows, groups = codes.shape[0], scale.shape[1]
    weight = codes.to(torch.float32).reshape(rows, groups, cols // groups)
    if zero is not None:
        weight = weight - zero.to(torch.float32).unsqueeze(-1)
    return (weight * scale.to(torch.float32).unsqueeze(-1)).reshape(rows, cols).to(dtype)

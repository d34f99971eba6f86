# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The formats of engines that know one scheme each: bitsandbytes int8, GPTQ and fine-grained FP8. Their own packages are
not needed: codes are decoded here."""
import torch

from .codes import Codes, unpack
from .compressed import CompressedTensors
from .errors import CheckpointError
from .inputs import Inputs, Outliers


class OneScheme:
    """mark: the tensor that only quantized modules have; suffixes: all tensors of such a module; needed: those without which
    there is none."""
    method = mark = None
    suffixes = needed = ()

    def __init__(self, config, where):
        self.config, self.where = config, where
        self._read()

    def _read(self):
        """Refuses what the configuration says and this package does not know."""

    def refuse(self, what):
        raise CheckpointError(f"{self.where}: {what}: write the output with cwpd, or use the original, unquantized model")

    def codes(self, name, tensors):
        missing = [suffix for suffix in self.needed if suffix not in tensors]
        if missing:
            raise CheckpointError(f"{self.where}: module \"{name}\" has {self.mark} and no {', '.join(missing)}")
        return self._codes(name, tensors)


class Bitsandbytes(OneScheme):
    method, mark = "bitsandbytes", "SCB"
    suffixes, needed = ("weight", "SCB", "weight_format"), ("weight", "SCB")

    def _read(self):
        self.threshold = self.config.get("llm_int8_threshold", 6.0)
        if not self.config.get("load_in_8bit") or self.config.get("load_in_4bit"):
            self.refuse("of bitsandbytes only load_in_8bit is supported")
        if not isinstance(self.threshold, (int, float)) or not 0 <= self.threshold <= 65504:
            self.refuse(f"llm_int8_threshold {self.threshold!r} is not from 0 to 65504")

    def _codes(self, name, tensors):
        layout, absmax = tensors.get("weight_format"), tensors["SCB"]
        if layout is not None and (layout.numel() != 1 or int(layout) != 0):
            self.refuse(f"\"{name}.weight_format\": only codes by rows (0) are supported")
        if absmax.dtype != torch.float32 or absmax.dim() != 1:
            self.refuse(f"\"{name}.SCB\" is {absmax.dtype} of shape {tuple(absmax.shape)}, not F32 with one value a row")
        return Codes(name, tensors["weight"], (absmax / 127).unsqueeze(1))

    def inputs(self, module, tensor):
        return Outliers(self.threshold)


class Gptq(OneScheme):
    method, mark = "gptq", "qweight"
    suffixes, needed = ("qweight", "scales", "qzeros", "g_idx"), ("qweight", "scales", "qzeros")

    def _read(self):
        self.bits, self.group = self.config.get("bits"), self.config.get("group_size", 128)
        version = self.config.get("checkpoint_format", "gptq")
        if self.bits not in (2, 4, 8):
            self.refuse(f"gptq with bits {self.bits!r} is not supported (2, 4 and 8 are)")
        if not isinstance(self.group, int) or self.group == 0 or self.group < -1:
            self.refuse(f"group_size {self.group!r} is neither -1 nor a size")
        if version not in ("gptq", "gptq_v2"):
            self.refuse(f"checkpoint_format {version!r} is not supported (gptq and gptq_v2 are)")
        if any(not key.startswith("-:") for key in self.config.get("dynamic") or {}):
            self.refuse("dynamic gives modules numbers of their own, which is not supported")
        self.shift = 1 if version == "gptq" else 0  # of stored zero points

    def _codes(self, name, tensors):
        words, scales, zeros = (tensors[suffix] for suffix in self.needed)
        if words.dtype != torch.int32 or words.dim() != 2:
            self.refuse(f"\"{name}.qweight\" is {words.dtype} of shape {tuple(words.shape)}")
        cols, rows = words.shape[0] * 32 // self.bits, words.shape[1]
        width = self.group if self.group > 0 else cols
        if cols % width or tuple(scales.shape) != (cols // width, rows):
            self.refuse(f"\"{name}.scales\": shape {tuple(scales.shape)} does not fit {rows} outputs, {cols} inputs and "
                        f"groups of {width}")
        if zeros.dtype != torch.int32 or tuple(zeros.shape) != (cols // width, rows * self.bits // 32):
            self.refuse(f"\"{name}.qzeros\": {zeros.dtype} of shape {tuple(zeros.shape)} does not fit {rows} outputs")
        if "g_idx" in tensors and not torch.equal(tensors["g_idx"].long(), torch.arange(cols) // width):
            self.refuse(f"\"{name}.g_idx\": its groups are not in order (desc_act), which is not supported")
        half, top = 2 ** (self.bits - 1), 2 ** self.bits
        zero = unpack(zeros, self.bits, rows).to(torch.int16) + half  # as stored
        zero = ((zero + self.shift) % top - half).to(torch.int8).t()
        return Codes(name, words.t().contiguous(), scales.t(), zero if bool(zero.any()) else None, (rows, cols), self.bits)

    def inputs(self, module, tensor):
        return None


class Fp8(OneScheme):
    method, mark = "fp8", "weight_scale_inv"
    suffixes = needed = ("weight", "weight_scale_inv")

    def _read(self):
        block = self.config.get("weight_block_size")
        if not isinstance(block, list) or len(block) != 2 or not all(isinstance(n, int) and 1 <= n <= 65536 for n in block):
            self.refuse(f"weight_block_size {block!r} is not two sizes")
        if self.config.get("activation_scheme", "dynamic") != "dynamic" or self.config.get("scale_fmt", "float") != "float":
            self.refuse("only activation_scheme dynamic with scale_fmt float is supported")
        self.block = tuple(block)

    def _codes(self, name, tensors):
        weight = tensors["weight"]
        if weight.dtype != torch.float8_e4m3fn or weight.dim() != 2 or any(n % b for n, b in zip(weight.shape, self.block)):
            self.refuse(f"\"{name}.weight\": {weight.dtype} of shape {tuple(weight.shape)} is not FP8 in whole blocks of {self.block}")
        return Codes(name, weight, tensors["weight_scale_inv"], block=self.block)

    def inputs(self, module, tensor):
        return Inputs(True, group=self.block[1])


FORMATS = {format.method: format for format in (CompressedTensors, Bitsandbytes, Gptq, Fp8)}

# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The format of compressed-tensors: int-quantized, float-quantized, naive-quantized and pack-quantized, by config group."""
import re

import torch

from .codes import Codes, unpack
from .errors import CheckpointError
from .inputs import Inputs


class CompressedTensors:
    method, mark = "compressed-tensors", "weight_scale"
    suffixes = ("weight_packed", "weight", "weight_scale", "weight_zero_point", "weight_shape", "input_scale")

    def __init__(self, config, where):
        self.config, self.where = config, where

    def codes(self, name, tensors):
        if "weight_packed" in tensors:
            return self._packed(name, tensors)
        if "weight" not in tensors:
            raise CheckpointError(f"{self.where}: module \"{name}\" has scales and no codes")
        return Codes(name, tensors["weight"], tensors["weight_scale"], tensors.get("weight_zero_point"), block=self._block(name))

    def _packed(self, name, tensors):
        words, shape, zero = tensors["weight_packed"], tensors.get("weight_shape"), tensors.get("weight_zero_point")
        if shape is None or shape.numel() != 2 or words.dim() != 2:
            raise CheckpointError(f"{self.where}: \"{name}\": weight_packed of shape {tuple(words.shape)} comes without the two "
                                  "numbers of weight_shape")
        rows, cols = (int(n) for n in shape)
        bits = next((b for b in (4, 8) if words.shape[1] == (cols * b + 31) // 32), None)
        if bits is None:
            raise CheckpointError(f"{self.where}: \"{name}.weight_packed\": {words.shape[1]} words a row hold {cols} codes of "
                                  "neither 4 nor 8 bits")
        if zero is not None:  # packed along the rows
            if zero.dtype != torch.int32 or zero.dim() != 2 or zero.shape[0] != (rows * bits + 31) // 32:
                raise CheckpointError(f"{self.where}: \"{name}\": zero points {tuple(zero.shape)} do not fit {rows} rows")
            zero = unpack(zero.t(), bits, rows).t()
        return Codes(name, words, tensors["weight_scale"], zero, (rows, cols), bits, self._block(name))

    def inputs(self, module, tensor):
        """How the inputs of a module are quantized; None where they are not. tensor(name) reads one."""
        given = (self._group(module) or {}).get("input_activations")
        if not given:
            return None
        fp8, strategy = given.get("type") == "float", given.get("strategy", "tensor")
        fits = given.get("num_bits", 8) == 8 and given.get("symmetric", True)
        if fits and given.get("dynamic") and strategy == "token":
            return Inputs(fp8)
        if fits and given.get("dynamic") and strategy == "group" and fp8 and given.get("group_size"):
            return Inputs(fp8, group=given["group_size"])
        if fits and not given.get("dynamic") and strategy == "tensor":
            return Inputs(fp8, scale=tensor(f"{module}.input_scale").float().item())
        raise CheckpointError(f"{self.where}: module \"{module}\": of inputs only symmetric ones of 8 bits are supported: dynamic "
                              "by token or, FP8, by group, and static by tensor")

    def _block(self, module):
        """Rows and columns that share a scale, None where no block does."""
        weights = (self._group(module) or {}).get("weights", {})
        block = weights.get("block_structure")
        return tuple(block) if weights.get("strategy") == "block" and block else None

    def _group(self, module):
        """The config group of a module: by its name, by a pattern, by its class, in this order. None where there is none."""
        groups = list(self.config.get("config_groups", {}).values())
        fits = (lambda target: target == module,
                lambda target: target.startswith("re:") and re.match(target[3:], module),
                lambda target: target == "Linear")
        for fit in fits:
            for group in groups:
                if any(fit(target) for target in group.get("targets", ())):
                    return group
        return None

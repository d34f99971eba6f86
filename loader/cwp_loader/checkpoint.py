# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's folder: its tensors by module, dequantized and with the protected weights in their places."""
import json
import os
import re

from safetensors import safe_open

from .codes import SUFFIXES, Codes
from .errors import CheckpointError
from .inputs import Inputs
from .overlay import Overlay

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


class Module:
    """codes; protected: (positions, values), or None where nothing of the module is protected."""

    def __init__(self, codes, protected):
        self.codes, self.protected = codes, protected

    def weight(self, dtype):
        """The weight that an engine must compute with: dequantized, then the protected values in their places."""
        weight = self.codes.dequantize(dtype)
        if self.protected is not None:
            weight.view(-1)[self.protected[0]] = self.protected[1].to(dtype)
        return weight


class Checkpoint:
    def __init__(self, folder):
        self.folder = os.fspath(folder)
        if not os.path.exists(os.path.join(self.folder, "config.json")):
            raise CheckpointError(f"{self.folder}: no config.json: not the folder of a checkpoint")
        with open(os.path.join(self.folder, "config.json"), encoding="utf-8") as file:
            self.quantization = json.load(file).get("quantization_config") or {}
        method = self.quantization.get("quant_method", "compressed-tensors")
        if method != "compressed-tensors":
            raise CheckpointError(f"{self.folder}/config.json: quant_method \"{method}\" is not supported "
                                  "(compressed-tensors is)")
        self.file_of, self.open = self._list(), {}
        self.overlay = Overlay.open(self.folder)
        self._check_overlay()

    def _list(self):
        """tensor -> file"""
        path = os.path.join(self.folder, INDEX)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                files = json.load(file)["weight_map"]
            for name in set(files.values()):
                if os.path.basename(name) != name:
                    raise CheckpointError(f"{path}: \"{name}\" is not a file of this folder")
            return files
        path = os.path.join(self.folder, SINGLE)
        if not os.path.exists(path):
            raise CheckpointError(f"{self.folder}: neither {INDEX} nor {SINGLE}")
        with safe_open(path, "pt") as file:
            return dict.fromkeys(file.keys(), SINGLE)

    def _check_overlay(self):
        for module in self.overlay.modules if self.overlay else ():
            if f"{module}.weight_scale" not in self.file_of:
                raise CheckpointError(f"{self.overlay.path}: module \"{module}\" is not a quantized one of this checkpoint")

    def modules(self):
        """Quantized modules, in the order of their names."""
        return sorted(name[:-len(".weight_scale")] for name in self.file_of if name.endswith(".weight_scale"))

    def others(self):
        """Names of the tensors that belong to no quantized module's codes."""
        codes = {f"{module}.{suffix}" for module in self.modules() for suffix in SUFFIXES}
        return [name for name in self.file_of if name not in codes]

    def tensor(self, name):
        file = self.file_of[name]
        if file not in self.open:  # a header is read once
            self.open[file] = safe_open(os.path.join(self.folder, file), "pt")
        return self.open[file].get_tensor(name)

    def module(self, name):
        """The codes and protected weights of a quantized module, as they lie in the files."""
        tensors = {suffix: self.tensor(f"{name}.{suffix}") for suffix in SUFFIXES if f"{name}.{suffix}" in self.file_of}
        if "weight" not in tensors and "weight_packed" not in tensors:
            raise CheckpointError(f"{self.folder}: module \"{name}\" has scales and no codes")
        codes = Codes(name, tensors, self._block(name))
        kept = self.overlay is not None and name in self.overlay.modules
        return Module(codes, self.overlay.read(name, codes.rows, codes.cols) if kept else None)

    def activation(self, module):
        """How the inputs of a module are quantized: an Inputs, or None where they are not."""
        group = self._group(module)
        inputs = group.get("input_activations") if group else None
        if not inputs:
            return None
        fp8, strategy = inputs.get("type") == "float", inputs.get("strategy", "tensor")
        fits = inputs.get("num_bits", 8) == 8 and inputs.get("symmetric", True)
        if fits and inputs.get("dynamic") and strategy == "token":
            return Inputs(fp8)
        if fits and inputs.get("dynamic") and strategy == "group" and fp8 and inputs.get("group_size"):
            return Inputs(fp8, group=inputs["group_size"])
        if fits and not inputs.get("dynamic") and strategy == "tensor":
            return Inputs(fp8, scale=self.tensor(f"{module}.input_scale").float().item())
        raise CheckpointError(f"{self.folder}/config.json: module \"{module}\": of inputs only symmetric ones of 8 bits are "
                              "supported: dynamic by token or, FP8, by group, and static by tensor")

    def _block(self, module):
        """Rows and columns that share a scale, None where no block does."""
        weights = (self._group(module) or {}).get("weights", {})
        block = weights.get("block_structure")
        return tuple(block) if weights.get("strategy") == "block" and block else None

    def _group(self, module):
        """The config group of a module: by its name, by a pattern, by its class, in this order. None where there is none."""
        groups = list(self.quantization.get("config_groups", {}).values())
        fits = (lambda target: target == module,
                lambda target: target.startswith("re:") and re.match(target[3:], module),
                lambda target: target == "Linear")
        for fit in fits:
            for group in groups:
                if any(fit(target) for target in group.get("targets", ())):
                    return group
        return None

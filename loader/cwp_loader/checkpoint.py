# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's folder: its tensors by module, dequantized and with the protected weights in their places."""
import json
import os
import re

from safetensors import safe_open

from .codes import SUFFIXES, Codes, is_quantized
from .errors import CheckpointError
from .overlay import Overlay

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


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
        self.file_of = self._list()
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
        with safe_open(os.path.join(self.folder, self.file_of[name]), "pt") as file:
            return file.get_tensor(name)

    def codes(self, module):
        tensors = {suffix: self.tensor(f"{module}.{suffix}") for suffix in SUFFIXES if f"{module}.{suffix}" in self.file_of}
        if not is_quantized(tensors) or not ("weight" in tensors or "weight_packed" in tensors):
            raise CheckpointError(f"{self.folder}: module \"{module}\" has scales and no codes")
        return Codes(module, tensors)

    def protected(self, module, rows, cols):
        """(positions, values), or None where nothing of the module is protected."""
        if self.overlay is None or module not in self.overlay.modules:
            return None
        return self.overlay.read(module, rows, cols)

    def weight(self, module, dtype):
        """The weight that an engine must compute with: dequantized, then the protected values in their places."""
        codes = self.codes(module)
        weight = codes.dequantize(dtype)
        protected = self.protected(module, codes.rows, codes.cols)
        if protected is not None:
            weight.view(-1)[protected[0]] = protected[1].to(dtype)
        return weight

    def activation(self, module):
        """How the inputs of a module are quantized: None, "int8" or "fp8", a scale for each token."""
        for group in self._groups(module):
            inputs = group.get("input_activations")
            if not inputs:
                return None
            if not inputs.get("dynamic") or inputs.get("strategy") != "token" or inputs.get("num_bits", 8) != 8 or \
                    not inputs.get("symmetric", True):
                raise CheckpointError(f"{self.folder}/config.json: module \"{module}\": only dynamic, symmetric "
                                      "activations of 8 bits by token are supported")
            return "fp8" if inputs.get("type") == "float" else "int8"
        return None

    def _groups(self, module):
        """The config group of a module: by its name, by a pattern, by its class, in this order."""
        groups = list(self.quantization.get("config_groups", {}).values())
        fits = (lambda target: target == module,
                lambda target: target.startswith("re:") and re.match(target[3:], module),
                lambda target: target == "Linear")
        for fit in fits:
            for group in groups:
                if any(fit(target) for target in group.get("targets", ())):
                    yield group

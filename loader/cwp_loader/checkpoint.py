# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's folder: its tensors by module, dequantized and with the protected weights in their places."""
import json
import os

from safetensors import safe_open

from .errors import CheckpointError
from .formats import FORMATS
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
            quantization = json.load(file).get("quantization_config") or {}
        method = quantization.get("quant_method", "compressed-tensors")
        if method not in FORMATS:
            raise CheckpointError(f"{self.folder}/config.json: quant_method \"{method}\" is not supported "
                                  f"({', '.join(FORMATS)} are)")
        self.format = FORMATS[method](quantization, f"{self.folder}/config.json")
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
            if f"{module}.{self.format.mark}" not in self.file_of:
                raise CheckpointError(f"{self.overlay.path}: module \"{module}\" is not a quantized one of this checkpoint")

    def modules(self):
        """Quantized modules, in the order of their names."""
        mark = "." + self.format.mark
        return sorted(name[:-len(mark)] for name in self.file_of if name.endswith(mark))

    def others(self):
        """Names of the tensors that belong to no quantized module's codes."""
        codes = {f"{module}.{suffix}" for module in self.modules() for suffix in self.format.suffixes}
        return [name for name in self.file_of if name not in codes]

    def tensor(self, name):
        file = self.file_of[name]
        if file not in self.open:  # a header is read once
            self.open[file] = safe_open(os.path.join(self.folder, file), "pt")
        return self.open[file].get_tensor(name)

    def module(self, name):
        """The codes and protected weights of a quantized module, as they lie in the files."""
        tensors = {suffix: self.tensor(f"{name}.{suffix}") for suffix in self.format.suffixes
                   if f"{name}.{suffix}" in self.file_of}
        codes = self.format.codes(name, tensors)
        kept = self.overlay is not None and name in self.overlay.modules
        return Module(codes, self.overlay.read(name, codes.rows, codes.cols) if kept else None)

    def activation(self, module):
        """How the inputs of a module are quantized: an Inputs or Outliers, or None where they are not."""
        return self.format.inputs(module, self.tensor)

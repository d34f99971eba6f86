# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Opens protected, quantized checkpoints of cwpd in transformers:

    from cwp_loader import load
    model = load("out/smollm2-int4")

What is loaded computes with exactly the weights that cwpd measured: dequantized codes, and the protected weights as they
were. compressed-tensors, bitsandbytes int8, GPTQ and fine-grained FP8 are all decoded here: needs torch, transformers and
safetensors only."""
import copy
import gc
import os

import torch
import transformers

from .checkpoint import Checkpoint
from .errors import CheckpointError
from .linear import ProtectedLinear
from .overlay import Overlay

__all__ = ["Checkpoint", "CheckpointError", "Overlay", "ProtectedLinear", "load", "state_dict"]
__version__ = "0.1.0"

# The keyword changed its name.
DTYPE = "dtype" if tuple(int(n) for n in transformers.__version__.split(".")[:2]) >= (4, 56) else "torch_dtype"


def state_dict(folder, dtype=torch.float32):
    """A checkpoint's tensors under the names of the model before quantization; those of quantized modules in dtype, all
    others as they are."""
    checkpoint = Checkpoint(folder)
    return _dense(checkpoint, {name: checkpoint.module(name) for name in checkpoint.modules()}, dtype)


def load(folder, dtype=None, device=None, dense=False, activations=True, model_class=transformers.AutoModelForCausalLM,
         **options):
    """A model of transformers with the weights of a checkpoint of cwpd, protected or not.

    dtype: what it computes in; by default the dtype of its config.
    device: where it is put in the end; it is made on the CPU.
    model_class: the auto class that knows the model's own.
    dense: True makes ordinary Linears of all modules (to go on training, to save, to compile). False keeps quantized
        modules small (ProtectedLinear); modules that transformers stores together (experts) become dense all the same,
        and are never quantized in their inputs.
    activations: whether inputs are quantized where the checkpoint says so; not with dense.
    options: go to from_pretrained.

    Raises CheckpointError for a checkpoint that is damaged or that this package does not read."""
    checkpoint = Checkpoint(folder)
    modules = {name: checkpoint.module(name) for name in checkpoint.modules()}
    config = copy.deepcopy(transformers.AutoConfig.from_pretrained(folder))
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    dtype = dtype or getattr(config, "dtype", None) or getattr(config, "torch_dtype", None) or torch.float32
    options.setdefault(DTYPE, dtype)
    with torch.device("meta"):
        concrete = type(model_class.from_config(config))
    model = concrete.from_pretrained(None, config=config, state_dict=_dense(checkpoint, modules, dtype), **options)
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    if not dense:
        _make_small(model, checkpoint, modules, dtype, activations)
        gc.collect()
    return model.to(device).eval() if device is not None else model.eval()


def _dense(checkpoint, modules, dtype):
    """All tensors, those of quantized modules as weights in dtype."""
    tensors = {name: checkpoint.tensor(name) for name in checkpoint.others()}
    tensors.update((f"{name}.weight", module.weight(dtype)) for name, module in modules.items())
    return tensors


def _make_small(model, checkpoint, modules, dtype, activations):
    """Puts a ProtectedLinear in the place of each Linear that is quantized."""
    present = dict(model.named_modules())
    for name, module in modules.items():
        linear = present.get(name)
        if not isinstance(linear, torch.nn.Linear):
            continue
        small = ProtectedLinear(module.codes, module.protected, linear.bias, dtype,
                                checkpoint.activation(name) if activations else None)
        parent, _, leaf = name.rpartition(".")
        setattr(present[parent] if parent else model, leaf, small)

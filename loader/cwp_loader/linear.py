# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""A Linear that stays small: codes, scales and the protected weights, made into a weight for each product."""
import torch
from torch import nn
from torch.nn import functional

from .codes import dequantize

class ProtectedLinear(nn.Module):
    """y = W x + b. W is dequantized anew for each call, and its protected weights put in their places, so that what
    stays in memory is what the files hold: codes, scales, positions (4 bytes each where 2^31 weights suffice) and exact
    values."""

    def __init__(self, codes, protected, bias, dtype, activation):
        super().__init__()
        self.in_features, self.out_features = codes.cols, codes.rows
        self.bits = codes.bits
        self.activation = activation
        for name, tensor in codes.tensors().items():
            self.register_buffer(name, tensor)
        if "zero" not in self._buffers:
            self.zero = None
        if protected is not None:
            positions, values = protected
            small = codes.rows * codes.cols < 2**31
            self.register_buffer("positions", positions.to(torch.int32) if small else positions)
            self.register_buffer("values", values.to(dtype))
        else:
            self.positions = self.values = None
        self.bias = bias
        self.dtype = dtype

    def weight_of_codes(self):
        return dequantize(self.codes, self.scale, self.zero, dtype=self.dtype, bits=self.bits, cols=self.in_features)

    @property
    def weight(self):
        """The whole weight [out, in], made anew: changes to it are lost."""
        weight = self.weight_of_codes()
        if self.positions is not None:
            weight.view(-1)[self.positions.long()] = self.values
        return weight

    def forward(self, x):
        if self.activation is None or self.positions is None:
            inputs = x if self.activation is None else self.activation(x)
            return functional.linear(inputs, self.weight, self.bias)
        # Protected weights are kept out of the 8-bit product: they meet inputs that are not quantized.
        weight, exact = self.weight_of_codes(), torch.zeros(self.out_features, self.in_features, dtype=self.dtype,
                                                            device=x.device)
        at = self.positions.long()
        weight.view(-1)[at] = 0
        exact.view(-1)[at] = self.values
        return functional.linear(self.activation(x), weight, self.bias) + functional.linear(x, exact)

    def extra_repr(self):
        kept = 0 if self.positions is None else self.positions.numel()
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, protected={kept}"

# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Inputs of a Linear as an engine of 8-bit products sees them."""
import torch

INT8_RANGE, FP8_MAX = 127.5, 448.0


class Inputs:
    """Symmetric: one scale for each token, for each `group` channels of a token, or the one of the checkpoint for all."""

    def __init__(self, fp8, group=None, scale=None):
        self.fp8, self.group, self.scale = fp8, group, scale

    def _scale(self, wide):
        if self.scale is not None:
            return self.scale
        scale = wide.abs().amax(dim=-1, keepdim=True) / (FP8_MAX if self.fp8 else INT8_RANGE)
        return torch.where(scale == 0, torch.full_like(scale, torch.finfo(torch.float32).eps), scale)

    def __call__(self, x):
        wide = x.to(torch.float32)
        if self.group:
            wide = wide.unflatten(-1, (-1, self.group))
        scale = self._scale(wide)
        if self.fp8:
            codes = (wide / scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).to(torch.float32)
        else:
            codes = (wide / scale).round().clamp(-128, 127)
        return (codes * scale).reshape(x.shape).to(x.dtype)

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


class Outliers:
    """LLM.int8(), as bitsandbytes computes it: inputs rounded to F16, one scale for each token. Channels in which a token of a
    sequence reaches the threshold are not quantized; 0: there are none. The last dimensions of x are tokens and channels."""

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, x):
        wide = x.to(torch.float32)
        half = x.to(torch.float16).to(torch.float32)
        size, outliers = half.abs(), None
        if self.threshold > 0:
            large = size >= self.threshold
            outliers = large.any(dim=-2, keepdim=True) if x.dim() > 1 else large
            size = size.masked_fill(large, 0)
        absmax = size.amax(dim=-1, keepdim=True)
        inverse = torch.where(absmax == 0, absmax, 1 / absmax * 127)
        value = (half * inverse).round() * (absmax / 127)
        return (value if outliers is None else torch.where(outliers, wide, value)).to(x.dtype)

"""Layers whose mask leaves them no weight that matters: their output is their bias, and costs no product.

Behind such a layer every gradient is zero. It is passed on, not left out, for an optimizer tells a gradient of zero
(momentum and weight decay go on) from none at all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from Layers import layers


class _Bias(torch.autograd.Function):
    """(weight, bias [O] or None, data, empty output whose dimension `dim` has length O) -> the output, filled."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, data: Tensor, output: Tensor, dim: int) -> Tensor:
        ctx.weight, ctx.data, ctx.dim = weight.shape, data.shape, dim
        ctx.mark_dirty(output)
        if bias is None:
            return output.zero_()
        return output.copy_(bias.view(-1, *[1] * (output.dim() - 1 - dim)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_weight = of_bias = of_data = None
        if ctx.needs_input_grad[0]:
            of_weight = torch.zeros(ctx.weight, dtype=gradient.dtype)
        if ctx.needs_input_grad[1]:
            kept = [size if dim == ctx.dim else 1 for dim, size in enumerate(gradient.shape)]
            of_bias = gradient.sum_to_size(kept).flatten()
        if ctx.needs_input_grad[2]:
            of_data = gradient.new_zeros(()).expand(ctx.data)
        return of_weight, of_bias, of_data, None, None


class ConstantPart:
    """What computes a convolution or a matrix product of which no weight matters."""

    def __call__(self, module: layers.Conv2d | layers.Linear, data: Tensor) -> Tensor:
        """As the layer's: [B, I, H, W] -> [B, O, H', W'], or [..., I] -> [..., O]."""
        dtype = torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else data.dtype
        if isinstance(module, layers.Conv2d):
            shape, dim = (len(data), module.out_channels, *module.size_after(data)), 1
            output = torch.empty(shape, dtype=dtype, memory_format=layers.layout_of(data))
        else:
            shape, dim = (*data.shape[:-1], module.out_features), data.dim() - 1
            output = torch.empty(shape, dtype=dtype)
        return _Bias.apply(module.weight, layers.masked(module, "bias"), data, output, dim)

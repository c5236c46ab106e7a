"""Layers without any effective weight. Their output is their bias and costs no product.

Every gradient behind such a layer is zero. The zero is passed on, because an optimizer treats it differently from no
gradient: momentum and weight decay continue.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from Layers import layers


class _Bias(torch.autograd.Function):
    """Fill `output`, which has length O in dimension `dim`, with the bias [O], or with zeros if the bias is None.

    The gradients of weight and data are zero.
    """

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
    """The computation of a convolution or Linear without any effective weight."""

    def __call__(self, module: layers.Conv2d | layers.Linear, data: Tensor) -> Tensor:
        """Return the layer's output: [B, I, H, W] -> [B, O, H', W'], or [..., I] -> [..., O]."""
        dtype = torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else data.dtype
        if isinstance(module, layers.Conv2d):
            shape, dim = (len(data), module.out_channels, *module.size_after(data)), 1
            output = torch.empty(shape, dtype=dtype, memory_format=layers.layout_of(data))
        else:
            shape, dim = (*data.shape[:-1], module.out_features), data.dim() - 1
            output = torch.empty(shape, dtype=dtype)
        return _Bias.apply(module.weight, layers.masked(module, "bias"), data, output, dim)

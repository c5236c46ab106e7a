"""Convolutions that cost what their masks leave, forward and backward, wherever the weights stand.

The output is that of Utils/exported/scattered.py. The gradient of the data is such a convolution too: with the kernels
turned by half a circle, and inputs and outputs exchanged. The gradient of a weight is computed if it is left.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from Layers import layers
from Utils.errors import UserError
from Utils.exported import compiling, kernel
from Utils.exported.scattered import Scattered

SOURCE = Path(__file__).with_suffix(".c")
DENSITY = 0.2  # largest share of weights of the channels in use; above it, the whole product is quicker
FEW = 1 << 10  # kept weights below which what surrounds the product costs more than it saves


@functools.cache
def _library(*flags: str) -> Any:
    return compiling.library([SOURCE], *kernel.SUMS, *flags, instead="no convolution")


def check() -> None:
    """Raise UserError if nothing can be compiled here."""
    if kernel.library() is None or _library() is None:
        raise UserError("--sparse-convolutions needs a C compiler; install one, or leave it out")


class _Side(Scattered):
    """A convolution with the weights that a mask leaves, whose values may change."""

    def __init__(self, numbers: Tensor, padding: tuple[int, ...]) -> None:
        """Take what the mask leaves.

        numbers: of each weight [O, I, h, w] its place in the layer's weight, from 1; 0 if the mask removes it.
        """
        super().__init__(numbers, None, stride=(1, 1), padding=padding)
        self.places = self.values.sub_(1)
        self.values = torch.empty(len(self.places))

    def take(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Take the values of the layer's weight and bias."""
        torch.index_select(weight.flatten(), 0, self.places, out=self.values)
        self.start = weight.new_zeros(self.outputs) if bias is None else bias.detach()

    def gradients(self, data: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of each weight that is left, [n]; data: [B, C, H, W], gradient: of the output."""
        if short := -len(data) % kernel.lanes():  # runs are whole blocks of examples
            data, gradient = (F.pad(each, (0, 0, 0, 0, 0, 0, 0, short)) for each in (data, gradient))
        plan = self.planned(data)
        turned = gradient.permute(1, 2, 3, 0).contiguous()
        examples, threads = len(data), torch.get_num_threads()
        place, example = plan.written // examples, plan.written % examples
        at = (place // plan.wide * plan.columns + place % plan.wide) * examples + example
        held = data.new_empty(threads, self.outputs, _library().group(), kernel.lanes())
        sums = data.new_zeros(threads, len(self.values))
        kernel.call(
            "gradients", self.phases(data, plan), plan.read, turned, at, turned.stride(0), len(at), threads, held, sums,
            self.outputs, self.tiles, self.ends, self.taps, len(self.values), of=_library(),
        )  # fmt: skip
        return sums.sum(0)


class _Convolution(torch.autograd.Function):
    """Convolve: (weight [O, I, h, w], bias [O] or None, data [B, I, H, W], part) -> [B, O, H', W']."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, data: Tensor, part: ConvolutionPart) -> Tensor:
        ctx.save_for_backward(weight, data)
        ctx.part = part
        part.ahead.take(weight, bias)
        return part.ahead(data)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight, data), part = ctx.saved_tensors, ctx.part
        of_weight = of_bias = of_data = None
        if ctx.needs_input_grad[0]:
            of_weight = weight.new_zeros(weight.numel())
            of_weight[part.ahead.places] = part.ahead.gradients(data, gradient)
            of_weight = of_weight.view(weight.shape)
        if ctx.needs_input_grad[1]:
            of_bias = gradient.sum((0, 2, 3))
        if ctx.needs_input_grad[2]:
            part.back.take(weight)
            of_data = part.back(gradient)
        return of_weight, of_bias, of_data, None


class ConvolutionPart:
    """The computation of a convolution while its mask is frozen."""

    def __init__(self, module: layers.Conv2d, mask: Tensor) -> None:
        numbers = torch.arange(1, mask.numel() + 1).view(mask.shape) * mask.ne(0)
        before = tuple(int(n) for n in module.padding)
        self.ahead = _Side(numbers, before)
        turned = numbers.flip(2, 3).transpose(0, 1).contiguous()
        self.back = _Side(turned, tuple(size - 1 - n for size, n in zip(module.kernel_size, before, strict=True)))

    def __call__(self, module: layers.Conv2d, data: Tensor) -> Tensor:
        """Convolve `data`: [B, I, H, W] -> [B, O, H', W']."""
        return _Convolution.apply(module.weight, layers.masked(module, "bias"), data, self)


def part(module: layers.Conv2d, mask: Tensor) -> ConvolutionPart | None:
    """Return the computation that replaces the layer's; None if that is quicker, or is not of this kind."""
    if isinstance(module.padding, str) or not {*module.stride, *module.dilation} == {1}:
        return None
    if any(n >= size for n, size in zip(module.padding, module.kernel_size, strict=True)):
        return None
    used = mask.flatten(2).any(2)
    channels = used.any(0).count_nonzero() * used.any(1).count_nonzero() * mask[0, 0].numel()
    return ConvolutionPart(module, mask) if FEW <= mask.count_nonzero() <= DENSITY * channels else None

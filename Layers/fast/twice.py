"""Convolution, normalisation, ReLU and bags of embeddings in a form that is cheap to differentiate twice.

Torch has no second derivative of a bag. Its second derivatives of the others are slow or compute more than is needed:
for a convolution's weight it convolves with kernels as large as the image, for a normalisation by running statistics it
makes a dozen passes over the activations, and for a ReLU it fills and adds tensors of zeros.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# A convolution y = x * w is linear in x and in w. Its derivative by one of them, given the slope at y, is linear in the
# slope and in the other. So every derivative of every order is again one of these maps.


class _Output(Function):
    """Convolve: x [B, C, H, W], w [D, C / groups, h, w] -> x * w + bias.

    geometry: (stride, padding, dilation, groups).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, geometry: tuple) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        stride, padding, dilation, groups = geometry
        return torch.ops.aten.convolution(x, w, bias, stride, padding, dilation, False, [0, 0], groups)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple:
        x, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        by_x = _Derivative.apply(slope, w, x.detach(), ctx.geometry, 0) if wanted[0] else None
        by_w = _Derivative.apply(slope, x, w.detach(), ctx.geometry, 1) if wanted[1] else None
        return by_x, by_w, slope.sum((0, 2, 3)) if wanted[2] else None, None


class _Derivative(Function):
    """The derivative of x * w by x (which = 0) or by w (1) for a slope at the output.

    other: the one of the two by which it does not differentiate.
    like: a tensor of the result's shape.
    """

    @staticmethod
    def forward(ctx: Any, slope: Tensor, other: Tensor, like: Tensor, geometry: tuple, which: int) -> Tensor:
        ctx.save_for_backward(slope, other)
        ctx.geometry, ctx.which = geometry, which
        x, w = (other, like) if which else (like, other)
        stride, padding, dilation, groups = geometry
        wanted = [which == 0, which == 1, False]
        return torch.ops.aten.convolution_backward(
            slope, x, w, None, stride, padding, dilation, False, [0, 0], groups, wanted
        )[which]

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple:
        slope, other = ctx.saved_tensors
        x, w = (other, given) if ctx.which else (given, other)
        wanted = ctx.needs_input_grad
        by_slope = _Output.apply(x, w, None, ctx.geometry) if wanted[0] else None
        by_other = _Derivative.apply(slope, given, other.detach(), ctx.geometry, 1 - ctx.which) if wanted[1] else None
        return by_slope, by_other, None, None, None


class _Affine(Function):
    """Scale and shift each channel: x [B, C, ...] -> scale * x + shift."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, scale)
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        return torch.batch_norm(x, scale, shift, zero, one, False, 0.0, 0.0, False)  # in one pass

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple:
        x, scale = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        others = [dim for dim in range(slope.dim()) if dim != 1]
        return (
            slope * scale.view(-1, *[1] * (slope.dim() - 2)) if wanted[0] else None,
            (slope * x).sum(others) if wanted[1] else None,
            slope.sum(others) if wanted[2] else None,
        )


class _Gate(Function):
    """Pass x on where `output`, the output of a ReLU, is above zero, else 0. Its derivative by `output` is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor) -> Tensor:
        ctx.save_for_backward(output)
        return torch.ops.aten.threshold_backward(x, output, 0)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple:
        return _Gate.apply(slope, ctx.saved_tensors[0]), None


class _ReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        output = torch.relu(x)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return _Gate.apply(slope, ctx.saved_tensors[0].detach())


SMALL = 64  # pixels of an image up to which torch's own second derivative of a convolution is quicker on a CPU


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    def pair(value):
        return [value, value] if isinstance(value, int) else [*value]

    small = input.device.type == "cpu" and input.shape[-1] * input.shape[-2] <= SMALL
    if small or isinstance(padding, str) or input.dim() != 4:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Output.apply(input, weight, bias, (pair(stride), pair(padding), pair(dilation), groups))


def _batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Tensor:
    if training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -running_mean * scale
    return _Affine.apply(input, scale, shift if bias is None else bias + shift)


def _relu(input, inplace=False) -> Tensor:
    return _ReLU.apply(input)


def _embedding_bag(input, weight, offsets=None, mode="mean", include_last_offset=False, **options) -> Tensor:
    others = any(options.get(name) is not None for name in ("max_norm", "per_sample_weights", "padding_idx"))
    if others or include_last_offset or offsets is None or mode != "mean" or not weight.requires_grad:
        return F.embedding_bag(input, weight, offsets, mode=mode, include_last_offset=include_last_offset, **options)
    lengths = torch.cat([offsets[1:], offsets.new_tensor([input.numel()])]) - offsets
    bags = torch.repeat_interleave(lengths)
    sums = weight.new_zeros(len(offsets), weight.shape[1]).index_add(0, bags, F.embedding(input, weight))
    return sums / lengths.clamp_min(1).unsqueeze(1)


Forms = dict[Callable[..., Tensor], Callable[..., Tensor]]
NEEDED: Forms = {F.embedding_bag: _embedding_bag}
CHEAPER: Forms = {F.conv2d: _conv2d, F.batch_norm: _batch_norm, F.relu: _relu, torch.relu: _relu}


class TwiceDifferentiable(TorchFunctionMode):
    """A mode in which the functions of `forms` are those above, in any model: {function of torch: replacement}.

    Values and derivatives of every order are those of torch up to rounding. A first derivative costs the same as in
    torch, so this mode helps only with second derivatives.
    """

    def __init__(
        self, forms: Mapping[Callable[..., Tensor], Callable[..., Tensor]] = MappingProxyType(NEEDED | CHEAPER)
    ) -> None:
        super().__init__()
        self.forms = forms

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return self.forms.get(function, function)(*args, **(kwargs or {}))

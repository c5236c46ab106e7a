"""A step of Adam for whole parameters, as calls of torch or as the loop of adam.c, to the same bits."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from Utils.training import loops


def move(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    squares: Sequence[Tensor],
    step: float,
    betas: tuple[float, float],
    eps: float,
    lr: float,
) -> None:
    """Update these parameters and their moments in place, as step number `step`, from 1, of algorithm 1."""
    tensors = parameters, gradients, averages, squares
    rates = 1 - betas[0], betas[1], 1 - betas[1], math.sqrt(1 - betas[1] ** step), eps, -lr / (1 - betas[0] ** step)
    if rates[0] < 0.5 and all(map(_fit, *tensors)) and _agree():
        for each in zip(*tensors, strict=True):
            _looped(*each, *rates)
    else:
        _called(*tensors, *rates)


def _called(parameters, gradients, averages, squares, first, keep, second, scale, eps, rate) -> None:
    """Do the step in torch's order of operations."""
    torch._foreach_lerp_(averages, gradients, first)
    torch._foreach_mul_(squares, keep)
    torch._foreach_addcmul_(squares, gradients, gradients, second)
    # A pruned weight's square is zero. The square root of zero or of a subnormal number takes a CPU ten to eighty
    # times as long as that of other numbers. The smallest normal number is negligible beside any eps in use.
    scales = torch._foreach_add(squares, torch.finfo(squares[0].dtype).tiny)
    torch._foreach_sqrt_(scales)
    torch._foreach_div_(scales, scale)
    torch._foreach_add_(scales, eps)
    torch._foreach_addcdiv_(parameters, averages, scales, rate)


def _fit(*tensors: Tensor) -> bool:
    """Return whether the loop may go through these tensors, of one parameter, side by side."""
    if not all(tensor.dtype == torch.float32 for tensor in tensors):
        return False
    form = torch.contiguous_format if tensors[0].is_contiguous() else torch.channels_last
    return all(tensor.is_contiguous(memory_format=form) for tensor in tensors)


def _looped(parameter, gradient, average, square, *rates: float) -> None:
    tensors = (tensor.data_ptr() for tensor in (parameter, gradient, average, square))
    count = parameter.numel()
    loops.library().dense(count, *tensors, *rates, loops.root(), loops.threads(count))


@functools.cache
def _agree() -> bool:
    """Return whether there is a loop that gives the bits of torch's calls here."""
    if loops.library() is None:
        return False
    draw = torch.Generator().manual_seed(0)
    drawn = [[torch.randn(size, generator=draw) for size in (1, 7, 64, 3000)] for _ in range(4)]
    drawn[3] = [value.pow(4) * (value > -1) for value in drawn[3]]
    called, looped = ([[value.clone() for value in values] for values in drawn] for _ in range(2))
    rates = 0.1, 0.999, 1e-3, math.sqrt(3e-3), 1e-8, -2e-3
    _called(*(*called, *rates))
    for each in zip(*looped, strict=True):
        _looped(*each, *rates)
    same = all(
        torch.equal(*pair) for one, other in zip(called, looped, strict=True) for pair in zip(one, other, strict=True)
    )
    return loops.used(same)

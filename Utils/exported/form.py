"""The base class of forms, and what of a matrix they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def links(matrix: Tensor) -> Tensor:
    """Return which inputs of a matrix [O, I] or kernel [O, I, h, w] affect which outputs: boolean [O, I]."""
    return matrix.flatten(2).ne(0).any(2) if matrix.dim() > 2 else matrix.ne(0)


def block(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (rows, columns, block) of [O, I, ...]: the rows and columns that are not all zero, and their entries."""
    rows, columns = (links(matrix).any(dim).nonzero().flatten() for dim in (1, 0))
    part = matrix[rows][:, columns]
    last = matrix.dim() == 4 and not matrix.is_contiguous()
    return rows, columns, part.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class Form:
    """A product with a matrix [O, I] or kernel [O, I, h, w] and its bias. `tensors`: the tensors that it stores."""

    def __init__(self, weight: Tensor, bias: Tensor | None, **how: Any) -> None:
        self.bias, self.how = bias, how
        self.tensors = [] if bias is None else [bias]
        self.outputs = weight.shape[0]
        self.prepare(weight)

    def hold(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self.tensors += tensors
        return tensors

    def prepare(self, weight: Tensor) -> None:
        raise NotImplementedError

    def __call__(self, input: Tensor) -> Tensor:
        raise NotImplementedError


def output_size(input: Tensor, kernel: Sequence[int], how: Mapping[str, Any]) -> list[int]:
    """Return height and width of a convolution's output."""
    stride, padding = how["stride"], how["padding"]
    return [(input.shape[k - 2] + 2 * padding[k] - kernel[k]) // stride[k] + 1 for k in range(2)]

"""The form of a matrix in whole numbers of 8 bits, with a scale for each output; inputs are rounded as they come.

As W8A8 with symmetric scales of channels and tokens (Jacob et al. 2018, arXiv 1712.05877; Dettmers et al. 2022, arXiv
2208.07339, section 2.1): w = s q of an output, x = t p of an input vector, and their product is s t sum(q p), whose sum
is of whole numbers and exact.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from . import kernel
from .rows import Looped, Matrix

HIGHEST = 127
PAD = 64  # decoder.c reads so many weights of a row at a time


def split(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return (int8 numbers of the same shape, float32 scale of each row [O]); their product is the matrix, rounded."""
    most = matrix.flatten(1).abs().amax(1)
    scale = most.where(most > 0, 1.0) / HIGHEST
    return (matrix / by_row(scale, matrix)).round().to(torch.int8), scale


def joined(numbers: Tensor, scale: Tensor) -> Tensor:
    """Return the rows of [O, ...] times their scale [O], in float32."""
    return numbers.float() * by_row(scale, numbers)


def by_row(scale: Tensor, matrix: Tensor) -> Tensor:
    """Return [O] so that it acts on the rows of [O, ...]."""
    return scale.view(-1, *[1] * (matrix.dim() - 1))


class Rounded(Looped):
    """A product with a matrix [O, I] in int8. What `split` has rounded before stays as it is."""

    def prepare(self, weight: Tensor) -> None:
        numbers, scale = split(weight)
        self.inputs = weight.shape[1]
        filled = F.pad(numbers, (0, -self.inputs % PAD)).contiguous()
        self.stored = self.hold(filled, scale, numbers.sum(1, dtype=torch.int32))
        self.begun = self.start()
        self.own = self.matrix(self.begun)

    def matrix(self, bias: Tensor | None) -> Matrix:
        filled, scales, sums = (each.data_ptr() for each in self.stored)
        given = None if bias is None else bias.data_ptr()
        return Matrix(given, filled, outputs=self.outputs, inputs=self.inputs, scales=scales, sums=sums)

    def __call__(self, input: Tensor) -> Tensor:
        if kernel.library() is not None and input.device.type == "cpu":
            return super().__call__(input)
        filled, scales, _ = self.stored
        most = input.abs().amax(-1, keepdim=True)
        numbers = (input * (HIGHEST / most).where(most > 0, 0.0)).round()
        found = numbers.double() @ filled[:, : self.inputs].double().t()  # exact
        return self.begun + found.to(input.dtype) * (scales * (most / HIGHEST))

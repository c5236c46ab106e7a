"""Forms in which a matrix with many zeros computes: whole, as torch's sparse CSR, as its block, or by its weights.

The block of a matrix consists of the rows and columns that are not all zero. If it is empty, the output is the bias.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from . import kernel
from .form import Form, block, output_size
from .rows import Rows
from .scattered import Scattered


def _csr(matrix: Tensor) -> Tensor:
    """Return [O, I] as torch's sparse CSR. Indices have 32 bits, so that half as many bytes are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "sparse CSR tensor support is in beta state"
        wide = matrix.to_sparse_csr()
        narrow = wide.crow_indices().int(), wide.col_indices().int()
        return torch.sparse_csr_tensor(*narrow, wide.values(), wide.shape)


class Whole(Form):
    """A product with every entry."""

    def prepare(self, weight: Tensor) -> None:
        (self.weight,) = self.hold(weight)
        self.product = F.linear if weight.dim() == 2 else F.conv2d

    def __call__(self, input: Tensor) -> Tensor:
        return self.product(input, self.weight, self.bias, **self.how)


class CsrLinear(Form):
    """A sparse product of a matrix."""

    def prepare(self, weight: Tensor) -> None:
        self.weight = _csr(weight)
        self.hold(self.weight.crow_indices(), self.weight.col_indices(), self.weight.values())

    def __call__(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, input.shape[-1])
        if len(rows) == 1:  # a product with a vector is several times as quick as one with a matrix of one column
            found = self.weight.mv(rows[0]) if self.bias is None else torch.addmv(self.bias, self.weight, rows[0])
        else:
            columns = rows.t().contiguous()
            if self.bias is None:
                found = (self.weight @ columns).t()
            else:
                found = torch.addmm(self.bias.unsqueeze(1).expand(-1, len(rows)), self.weight, columns).t()
        return found.reshape(*input.shape[:-1], self.outputs)


class Block(Form):
    """A product with the block alone. The other outputs are their biases."""

    def prepare(self, weight: Tensor) -> None:
        rows, columns, part = block(weight)
        (self.weight,) = self.hold(part)
        self.dim = -1 if weight.dim() == 2 else -3  # of the units
        self.part_bias, self.rows, self.columns = self.bias, None, None
        if len(columns) < weight.shape[1]:
            (self.columns,) = self.hold(columns)
        if len(rows) < self.outputs:
            (self.rows,) = self.hold(rows)
            if self.bias is not None:
                (self.part_bias,) = self.hold(self.bias[rows])

    def product(self, input: Tensor) -> Tensor:
        """Return the outputs of the block's rows from the inputs of its columns."""
        if self.dim == -1:
            return F.linear(input, self.weight, self.part_bias)
        if self.weight.numel() == 0:  # torch has no convolution without channels
            return input.new_empty(len(input), 0, *output_size(input, self.weight.shape[2:], self.how))
        return F.conv2d(input, self.weight, self.part_bias, **self.how)

    def __call__(self, input: Tensor) -> Tensor:
        found = self.product(input if self.columns is None else input.index_select(self.dim, self.columns))
        if self.rows is None:
            return found
        size = list(found.shape)
        size[self.dim] = self.outputs
        if self.bias is None:
            whole = found.new_zeros(size)
        else:
            whole = self.bias.view(-1, *[1] * (-1 - self.dim)).expand(size).clone()
        return whole.index_copy_(self.dim, self.rows, found)


class CsrConv(Form):
    """A sparse product of a kernel, as a matrix, with the patches of the image."""

    def prepare(self, weight: Tensor) -> None:
        self.kernel = tuple(weight.shape[2:])
        self.weight = _csr(weight.flatten(1))
        self.hold(self.weight.crow_indices(), self.weight.col_indices(), self.weight.values())

    def __call__(self, input: Tensor) -> Tensor:
        patches = F.unfold(input, self.kernel, **self.how)
        found = self.weight @ patches.transpose(0, 1).flatten(1)
        if self.bias is not None:
            found = found + self.bias.unsqueeze(1)
        return found.view(self.outputs, len(input), *output_size(input, self.kernel, self.how)).transpose(0, 1)


def _scattered(made: type[Form], otherwise: type[Form]) -> Callable[..., Form]:
    """Return what makes the form that costs what is left; it is another one where nothing can be compiled."""
    return lambda weight, bias, **how: (made if available("scattered") else otherwise)(weight, bias, **how)


def available(form: str) -> bool:
    """Return whether this machine has what a form needs: of "scattered", a C compiler."""
    return form != "scattered" or kernel.library() is not None


LINEAR: dict[str, Callable[..., Form]]
LINEAR = {"whole": Whole, "csr": CsrLinear, "block": Block, "scattered": _scattered(Rows, CsrLinear)}
CONV: dict[str, Callable[..., Form]]
CONV = {"whole": Whole, "csr": CsrConv, "block": Block, "scattered": _scattered(Scattered, CsrConv)}

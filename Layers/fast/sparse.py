"""Products with a matrix of few weights, in time proportional to the weights that are left, forward and backward.

With the weights W [O, I] in compressed rows (CSR), `Y^T = W X^T`. With `G` the gradient of Y, that of X is `G W`, and
that of a weight (o, i) is a dot product of two columns, `G[:, o] . X[:, i]`, taken for the kept weights alone.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from Layers.layers import masked

LARGE = 1 << 22  # numbers of an output, from which on it is quicker written in place than turned


class Pattern:
    """Where the kept weights of a mask [O, I] are; at least one is."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        kept = mask.ne(0)
        rows, columns = kept.nonzero(as_tuple=True)
        self.places = rows * mask.shape[1] + columns  # in the flattened weight, ascending
        self.starts, self.columns = _starts(kept.sum(1)), columns
        self.order = columns.argsort(stable=True)  # the same weights column by column: the transposed matrix's rows
        self.transposed_starts, self.rows = _starts(kept.sum(0)), rows[self.order]
        # torch says once in a process that "sparse CSR tensor support is in beta state".
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.matrix(mask[kept])

    def matrix(self, values: Tensor) -> Tensor:
        """CSR [O, I] of the kept weights [n]."""
        return _csr(self.starts, self.columns, values, self.shape)

    def transposed(self, values: Tensor) -> Tensor:
        """CSR [I, O]."""
        return _csr(self.transposed_starts, self.rows, values[self.order], self.shape[::-1])


def _starts(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0))


def _csr(starts: Tensor, indices: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    return torch.sparse_csr_tensor(starts, indices, values, tuple(shape), check_invariants=False)


class _Product(torch.autograd.Function):
    """(weight [O, I], bias [O] or None, data [n, I], pattern) -> [n, O]; once differentiable."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, data: Tensor, pattern: Pattern) -> Tensor:
        values = weight.flatten()[pattern.places]
        ctx.save_for_backward(values, data)
        ctx.pattern = pattern
        matrix = pattern.matrix(values)
        found = data.new_empty(len(data), len(weight))
        if found.numel() >= LARGE:
            torch.addmm(values.new_zeros(()), matrix, data.t(), beta=0, out=found.t())
        else:
            found.copy_((matrix @ data.t().contiguous()).t())
        return found if bias is None else found.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (values, data), pattern = ctx.saved_tensors, ctx.pattern
        turned = gradient.t().contiguous()
        of_weight = of_bias = of_data = None
        if ctx.needs_input_grad[0]:
            dots = torch.sparse.sampled_addmm(pattern.matrix(torch.zeros_like(values)), turned, data, beta=0.0)
            of_weight = torch.zeros(pattern.shape, dtype=values.dtype)
            of_weight.view(-1)[pattern.places] = dots.values()
        if ctx.needs_input_grad[1]:
            of_bias = turned.sum(1)
        if ctx.needs_input_grad[2]:
            of_data = (pattern.transposed(values) @ turned).t()
        return of_weight, of_bias, of_data, None


class SparsePart:
    """What computes a layer's product with one of its weights [O, I] while that weight's mask stands."""

    def __init__(self, mask: Tensor, weight: str, bias: str) -> None:
        self.mask, self.weight, self.bias = mask, weight, bias
        self.patterns: dict[tuple[int, int], Pattern | None] = {}

    def _pattern(self, first: int, end: int) -> Pattern | None:
        """Of these rows; None if they have no weight."""
        if (first, end) not in self.patterns:
            mask = self.mask[first:end]
            self.patterns[first, end] = Pattern(mask) if mask.any() else None
        return self.patterns[first, end]

    def __call__(self, module: nn.Module, data: Tensor, rows: slice | None = None) -> Tensor:
        """`data` [..., I] -> [..., O]; rows: only these of the outputs."""
        first, end, _ = (rows or slice(None)).indices(len(self.mask))
        pattern = self._pattern(first, end)
        bias = masked(module, self.bias, rows)
        if pattern is None or torch.is_autocast_cpu_enabled():  # in a narrower type, which has no such products
            return F.linear(data, masked(module, self.weight, rows), bias)
        weight = getattr(module, self.weight)[first:end]
        found = _Product.apply(weight, bias, data.reshape(-1, data.shape[-1]), pattern)
        return found.view(*data.shape[:-1], len(weight))

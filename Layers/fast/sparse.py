"""Products with a sparse matrix, in time proportional to the number of kept weights, forward and backward.

The weights W [O, I] are stored in compressed rows (CSR), and `Y^T = W X^T`. If `G` is the gradient of Y, the gradient
of X is `G W`. The gradient of a weight (o, i) is the dot product of two columns, `G[:, o] . X[:, i]`, and is computed
for kept weights only.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from Layers.layers import masked

LARGE = 1 << 22  # size of an output from which writing in place is quicker than transposing


class Pattern:
    """The positions of the kept weights of a mask [O, I]; there is at least one."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        kept = mask.ne(0)
        rows, columns = kept.nonzero(as_tuple=True)
        self.positions = rows * mask.shape[1] + columns  # in the flattened weight, ascending
        self.starts, self.columns = _starts(kept.sum(1)), columns
        self.order = columns.argsort(stable=True)  # the same weights column by column: the transposed matrix's rows
        self.transposed_starts, self.rows = _starts(kept.sum(0)), rows[self.order]
        # torch says once in a process that "sparse CSR tensor support is in beta state".
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.matrix(mask[kept])

    def matrix(self, values: Tensor) -> Tensor:
        """Return the kept weights [n] as a CSR matrix [O, I]."""
        return _csr(self.starts, self.columns, values, self.shape)

    def transposed(self, values: Tensor) -> Tensor:
        """Return the kept weights [n] as the transposed CSR matrix [I, O]."""
        return _csr(self.transposed_starts, self.rows, values[self.order], self.shape[::-1])


def _starts(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0))


def _csr(starts: Tensor, indices: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    return torch.sparse_csr_tensor(starts, indices, values, tuple(shape), check_invariants=False)


class _Product(torch.autograd.Function):
    """Multiply: (weight [O, I], bias [O] or None, data [n, I], pattern) -> [n, O]; differentiable once."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, data: Tensor, pattern: Pattern) -> Tensor:
        values = weight.flatten()[pattern.positions]
        ctx.save_for_backward(values, data)
        ctx.pattern = pattern
        matrix = pattern.matrix(values)
        output = data.new_empty(len(data), len(weight))
        if output.numel() >= LARGE:
            torch.addmm(values.new_zeros(()), matrix, data.t(), beta=0, out=output.t())
        else:
            output.copy_((matrix @ data.t().contiguous()).t())
        return output if bias is None else output.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (values, data), pattern = ctx.saved_tensors, ctx.pattern
        turned = gradient.t().contiguous()
        of_weight = of_bias = of_data = None
        if ctx.needs_input_grad[0]:
            dots = torch.sparse.sampled_addmm(pattern.matrix(torch.zeros_like(values)), turned, data, beta=0.0)
            of_weight = torch.zeros(pattern.shape, dtype=values.dtype)
            of_weight.view(-1)[pattern.positions] = dots.values()
        if ctx.needs_input_grad[1]:
            of_bias = turned.sum(1)
        if ctx.needs_input_grad[2]:
            of_data = (pattern.transposed(values) @ turned).t()
        return of_weight, of_bias, of_data, None


class SparsePart:
    """The computation of a layer's product with one of its weights [O, I] while its mask is frozen."""

    def __init__(self, mask: Tensor, weight: str, bias: str) -> None:
        self.mask, self.weight, self.bias = mask, weight, bias
        self.patterns: dict[tuple[int, int], Pattern | None] = {}

    def _pattern(self, first: int, end: int) -> Pattern | None:
        """Return the pattern of these rows; None if no weight of them is kept."""
        if (first, end) not in self.patterns:
            mask = self.mask[first:end]
            self.patterns[first, end] = Pattern(mask) if mask.any() else None
        return self.patterns[first, end]

    def __call__(self, module: nn.Module, data: Tensor, rows: slice | None = None) -> Tensor:
        """Multiply `data` [..., I] -> [..., O]; rows: a slice of the outputs."""
        first, end, _ = (rows or slice(None)).indices(len(self.mask))
        pattern = self._pattern(first, end)
        bias = masked(module, self.bias, rows)
        if pattern is None or torch.is_autocast_cpu_enabled():  # a narrower type has no sparse products
            return F.linear(data, masked(module, self.weight, rows), bias)
        weight = getattr(module, self.weight)[first:end]
        output = _Product.apply(weight, bias, data.reshape(-1, data.shape[-1]), pattern)
        return output.view(*data.shape[:-1], len(weight))

"""The form of a matrix that multiplies with the weights that are left, row by row: the loops of decoder.c."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from . import kernel
from .form import Form

LANES = 64  # decoder.c turns at most so many vectors at a time
MOST = 2**16  # columns that it can number


class Matrix(ctypes.Structure):
    """The struct of decoder.c. It has no ends if it is dense."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("bias", "weights", "ends", "order", "columns")),
        *((name, ctypes.c_int64) for name in ("outputs", "inputs")),
        *((name, ctypes.c_void_p) for name in ("scales", "sums")),
    ]


class Looped(Form):
    """A product with a matrix [O, I] by decoder.c. `prepare` sets `inputs` and `own`, the struct."""

    inputs: int
    own: Matrix

    def matrix(self, bias: Tensor | None) -> Matrix:
        """Return the struct with this bias, or with none. The tensors stay here."""
        raise NotImplementedError

    def __call__(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.inputs).contiguous()
        found = rows.new_empty(len(rows), self.outputs)
        room = rows.new_empty(-(-len(rows) // LANES) * LANES, self.inputs + self.outputs)
        kernel.call("linear", ctypes.byref(self.own), len(rows), rows, found, room, torch.get_num_threads())
        return found.view(*input.shape[:-1], self.outputs)

    def start(self) -> Tensor:
        """Return what every sum begins with: the bias, or zeros."""
        return torch.zeros(self.outputs) if self.bias is None else self.bias


class Rows(Looped):
    """A sparse product of a matrix. Columns have 16 bits, so that less memory is read."""

    def prepare(self, weight: Tensor) -> None:
        counts = weight.count_nonzero(1)
        order = counts.argsort(stable=True)
        row, column = weight[order].nonzero(as_tuple=True)
        ends = F.pad(counts[order].cumsum(0), (1, 0))
        self.inputs = weight.shape[1]
        self.stored = self.hold(weight[order[row], column], ends.int(), order.int(), column.to(torch.int16))
        self.begun = self.start()
        self.own = self.matrix(self.begun)

    def matrix(self, bias: Tensor | None) -> Matrix:
        given = None if bias is None else bias.data_ptr()
        return Matrix(given, *(each.data_ptr() for each in self.stored), self.outputs, self.inputs)

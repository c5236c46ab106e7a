"""Rows of an embedding under Adam by the loops of adam.c, where they give the bits of torch's calls."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import byref, c_float, c_int64, c_void_p

import torch
from torch import Tensor

from Utils.training import loops
from Utils.training.rows import Rows


class _Table(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("height", "width")),
        *((name, c_void_p) for name in ("average", "square", "last", "decay1", "decay2")),
        *((name, c_int64) for name in ("most1", "most2")),
        ("eps", c_float),
        ("root", c_void_p),
    ]


class Compiled(Rows):
    """The rows of an embedding weight [V, d], float32, dense, on the CPU.

    The moments of rows that are looked up are not copied, but computed once more in the update.
    """

    def begin_at(self, state: dict, group: dict) -> None:
        for name in state.keys() - {"step"}:
            state[name] = state[name].contiguous()
        super().begin_at(state, group)

    def _tabulate(self, count: int) -> None:
        super()._tabulate(count)
        kept = (self.average, self.square, self.last, self.decay1, self.decay2)
        most = self.decay1.numel() - 1, self.decay2.numel() - 1
        addresses = (tensor.data_ptr() for tensor in kept)
        self.table = byref(_Table(*self.weight.shape, *addresses, *most, self.eps.item(), loops.root()))
        self.ruled: tuple[float, ...] = ()  # the step and rate of `rule`

    def _rule(self, step: int) -> tuple[int, ctypes.Array]:
        """Return how many terms the rule of this step has, and its nodes and weights."""
        if self.ruled != (step, self.lr):
            nodes, weights = zip(*self.tail.rule(step), strict=True)
            self.rule = len(nodes), (c_float * (2 * len(nodes)))(*nodes, *(self.lr * weight for weight in weights))
            self.ruled = step, self.lr
        return self.rule

    def begin(self, rows: Tensor) -> tuple[Tensor, ...]:
        value = self.weight.new_empty(rows.shape[0], self.weight.shape[1])
        self._begin(rows, self.limit, 1.0, value)
        return rows, value

    def _begin_all(self, start: Tensor, sign: float, out: Tensor) -> None:
        self._begin(None, start, sign, out)

    def _begin(self, rows: Tensor | None, start: Tensor, sign: float, value: Tensor, *moments: int) -> None:
        of = None if rows is None else rows.data_ptr(), value.shape[0], start.data_ptr()
        to = *(moments or (None, None)), value.data_ptr(), loops.threads(value.numel())
        loops.library().begin(self.table, *of, self.step + 1, *self._rule(self.step + 1), sign, *to)

    def _kept(self, rows: Tensor, *moments: Tensor) -> Sequence[Tensor]:
        if not moments:
            average, square, value = self.weight.new_empty(3, rows.shape[0], self.weight.shape[1])
            self._begin(rows, self.limit, 1.0, value, average.data_ptr(), square.data_ptr())
            moments = average, square
        return rows, *moments

    def catch_up(self) -> None:
        if not self.current:
            self.pending = [(*self._kept(*before), value) for *before, value in self.pending]
        super().catch_up()

    def _distinct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        ids = ids.long().contiguous()
        rows, indices = torch.empty_like(ids), torch.empty_like(ids)
        of = ids.data_ptr(), ids.numel(), self.weight.shape[0]
        count = loops.library().distinct(*of, self.position.data_ptr(), rows.data_ptr(), indices.data_ptr())
        if count < 0:
            raise IndexError(f"an id is outside of the {self.weight.shape[0]} rows of an embedding")
        return rows[:count], indices

    def _finish(self, gradient: Tensor, value: Tensor, rows: Tensor, *moments: Tensor) -> None:
        gradient = gradient.contiguous()
        kept = (tensor.data_ptr() for tensor in moments) if moments else (None, None)
        before = rows.data_ptr(), rows.shape[0], gradient.data_ptr(), *kept, value.data_ptr()
        shares = 1 - self.tail.beta1, 1 - self.tail.beta2
        to = self.limit.data_ptr(), loops.threads(value.numel())
        loops.library().finish(self.table, *before, *shares, self.step, *self._rule(self.step), *to)

    def _bags(self, ids: Tensor, table: Tensor, offsets: Tensor, mode: str) -> tuple[Tensor, Tensor]:
        offsets = offsets.contiguous()
        bags, scale = table.new_empty(offsets.numel(), table.shape[1]), table.new_empty(offsets.numel())
        of = ids.data_ptr(), ids.numel(), offsets.data_ptr(), offsets.numel(), table.data_ptr(), *table.shape
        to = scale.data_ptr(), bags.data_ptr(), loops.threads(ids.numel() * table.shape[1])
        if loops.library().bags(*of, mode == "mean", *to):
            return super()._bags(ids, table, offsets, mode)  # which says what is wrong
        return bags, scale

    def _spread(self, ids: Tensor, offsets: Tensor, slopes: Tensor, rows: int) -> Tensor:
        offsets, slopes, width = offsets.contiguous(), slopes.contiguous(), slopes.shape[1]
        gradient, owner, ends = slopes.new_empty(rows, width), torch.empty_like(ids), ids.new_empty(rows)
        of = ids.data_ptr(), ids.numel(), offsets.data_ptr(), offsets.numel(), slopes.data_ptr(), rows, width
        to = owner.data_ptr(), ends.data_ptr(), gradient.data_ptr(), loops.threads(ids.numel() * width)
        loops.library().spread(*of, *to)
        return gradient


def kind(weight: Tensor) -> type[Rows]:
    """Return the class that updates the rows of this weight [V, d] soonest."""
    fit = weight.dtype == torch.float32 and weight.is_contiguous() and weight.numel() > 0
    if not fit or weight.device.type != "cpu" or loops.library() is None:
        return Rows
    return Compiled if _agree(weight.shape[1]) else Rows


@functools.cache
def _agree(width: int) -> bool:
    """Return whether here, for rows of this width, the loops give the bits of torch's calls; if not, with a warning."""
    draw = torch.Generator().manual_seed(width)
    weight, slopes = (torch.randn(60, width, generator=draw) for _ in range(2))
    batches = torch.randint(60, (3, 90), generator=draw), torch.randint(90, (3, 7), generator=draw).sort().values
    found = []
    for kind in (Rows, Compiled):
        group = {"betas": (0.9, 0.999), "eps": 1e-8, "lr": 1e-3}
        one, outputs = kind(weight.clone(), {}, group), []
        for ids, offsets in zip(*batches, strict=True):
            for mode in ("mean", "sum"):
                offsets[0] = 0
                with torch.enable_grad():
                    _, table, indices = one.look_up(ids)
                    outputs.append(one.bag(indices, table, offsets, mode))
                    (outputs[-1] * slopes[: offsets.numel()]).sum().backward()  # a vector would import torch's algebra
                with torch.no_grad():
                    one.update()
        one.catch_up()
        found.append([*outputs, one.weight, one.average, one.square, one.limit])
    return loops.used(all(torch.equal(*pair) for pair in zip(*found, strict=True)))

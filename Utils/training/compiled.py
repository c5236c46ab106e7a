"""Rows of an embedding under Adam by the loops of adam.c, where they give the bits of torch's calls."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import byref, c_float, c_int64, c_void_p

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

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


class _Rule(ctypes.Structure):
    _fields_ = [("terms", c_int64), ("nodes", c_void_p), ("weights", c_void_p)]


class Compiled(Rows):
    """The rows of an embedding weight [V, d], float32, dense, on the CPU."""

    def begin_at(self, state: dict, group: dict) -> None:
        for name in state.keys() - {"step"}:
            state[name] = state[name].contiguous()
        super().begin_at(state, group)

    def _tabulate(self, count: int) -> None:
        super()._tabulate(count)
        kept = (self.average, self.square, self.last, self.decay1, self.decay2)
        most = (len(self.decay1) - 1, len(self.decay2) - 1)
        self.table = _Table(
            *self.weight.shape, *(one.data_ptr() for one in kept), *most, self.group["eps"], loops.root()
        )

    def _rule(self, step: int, sign: float) -> _Rule:
        rule = self.tail.rule(step)
        array = c_float * len(rule)
        nodes, weights = array(*(node for node, _ in rule)), array(*(sign * self.lr * weight for _, weight in rule))
        found = _Rule(len(rule), ctypes.cast(nodes, c_void_p), ctypes.cast(weights, c_void_p))
        found.of = nodes, weights  # which are to live as long
        return found

    def begin(self, rows: Tensor) -> tuple[Tensor, ...]:
        value = self.weight.new_empty(len(rows), self.weight.shape[1])
        self._begin(rows, self.limit, 1.0, value)
        return rows, value

    def _kept(self, *before: Tensor) -> Sequence[Tensor]:
        average, square, value = self.weight.new_empty(3, len(before[0]), self.weight.shape[1])
        self._begin(before[0], self.limit, 1.0, value, average.data_ptr(), square.data_ptr())
        return before[0], average, square

    def _begin_all(self, start: Tensor, sign: float, out: Tensor) -> None:
        self._begin(None, start, sign, out)

    def _begin(self, rows: Tensor | None, start: Tensor, sign: float, value: Tensor, *moments: int) -> None:
        named, step, rule = None if rows is None else rows.data_ptr(), self.step + 1, self._rule(self.step + 1, sign)
        to = *(moments or (None, None)), value.data_ptr(), loops.threads(value.numel())
        loops.library().begin(byref(self.table), named, value.shape[0], start.data_ptr(), step, byref(rule), *to)

    def _distinct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        ids = ids.long().contiguous()
        found, indices = torch.empty_like(ids), torch.empty_like(ids)
        of = ids.data_ptr(), len(ids), len(self.weight)
        count = loops.library().distinct(*of, self.position.data_ptr(), found.data_ptr(), indices.data_ptr())
        if count < 0:
            raise IndexError(f"an id is outside of the {len(self.weight)} rows of an embedding")
        return found[:count], indices

    def _finish(self, gradient: Tensor, value: Tensor, rows: Tensor, *moments: Tensor) -> None:
        gradient, rule = gradient.contiguous(), self._rule(self.step, -1.0)
        kept = (tensor.data_ptr() for tensor in moments) if moments else (None, None)
        shares = 1 - self.tail.beta1, 1 - self.tail.beta2
        how = value.data_ptr(), *shares, self.step, byref(rule), self.limit.data_ptr(), loops.threads(value.numel())
        loops.library().finish(byref(self.table), rows.data_ptr(), rows.shape[0], gradient.data_ptr(), *kept, *how)

    def bag(self, ids: Tensor, table: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
        fit = offsets is not None and mode in ("mean", "sum") and ids.dtype == offsets.dtype == torch.int64
        if fit and table.dtype == torch.float32 and ids.dim() == 1 and len(offsets):
            return _Bags.apply(table.contiguous(), ids.contiguous(), offsets.contiguous(), mode)
        return super().bag(ids, table, offsets, mode)


class _Bags(torch.autograd.Function):
    """Sums or means of bags of rows, and their gradient."""

    @staticmethod
    def forward(ctx, table: Tensor, ids: Tensor, offsets: Tensor, mode: str) -> Tensor:
        output, owner = table.new_empty(len(offsets), table.shape[1]), torch.empty_like(ids)
        scale, threads = table.new_empty(len(offsets)), loops.threads(len(ids) * table.shape[1])
        of = ids.data_ptr(), len(ids), offsets.data_ptr(), len(offsets), table.data_ptr(), *table.shape, mode == "mean"
        if loops.library().bags(*of, owner.data_ptr(), scale.data_ptr(), output.data_ptr(), threads):
            F.embedding_bag(ids, table, offsets, mode=mode)  # says what is wrong
            raise IndexError("offsets of bags must rise from 0, and ids be rows of the table")
        ctx.save_for_backward(ids, owner, scale)
        ctx.shape = table.shape
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        ids, owner, scale = ctx.saved_tensors
        gradient, found, order = gradient.contiguous(), gradient.new_zeros(ctx.shape), ids.sort().indices  # as torch's
        of = ids.data_ptr(), len(ids), owner.data_ptr(), scale.data_ptr(), order.data_ptr()
        width, threads = ctx.shape[1], loops.threads(len(ids) * ctx.shape[1])
        loops.library().spread(*of, gradient.data_ptr(), width, found.data_ptr(), threads)
        return found, None, None, None


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
                    outputs[-1].backward(slopes[: len(offsets)])
                with torch.no_grad():
                    one.update()
        one.catch_up()
        found.append([*outputs, one.weight, one.average, one.square, one.limit])
    return loops.used(all(torch.equal(*pair) for pair in zip(*found, strict=True)))

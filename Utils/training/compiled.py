"""Rows of an embedding under Adam by the loops of rows.c, where they give the bits of torch's calls."""

from __future__ import annotations

import ctypes
import functools
import warnings
from ctypes import byref, c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from Utils.exported import compiling
from Utils.training import rows
from Utils.training.rows import Rows

SOURCE = Path(__file__).with_name("rows.c")
FLAGS = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")  # no rounding but that of the source
EACH = 1 << 15  # numbers that a thread has at least, or starting it costs more than it saves
ARGUMENTS = {"p": c_void_p, "n": c_int64, "i": c_int, "f": c_float}
SIGNATURES = {"distinct": "pnnppp", "begin": "ppnpnppppi", "finish": "ppnppppffnppi"}
SIGNATURES |= {"bags": "pnpnpnnippi", "spread": "pnpnpppnipi"}


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


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled loops; None, with a warning, where they cannot be had."""
    found = compiling.library(SOURCE, *FLAGS, instead="torch's calls update the rows of an embedding")
    for name, kinds in SIGNATURES.items() if found else ():
        getattr(found, name).argtypes = [ARGUMENTS[kind] for kind in kinds]
        getattr(found, name).restype = c_int64
    return found


@functools.cache
def _root() -> int | None:
    """Return the address of the square root in torch's library, if it is MKL's; None: torch uses the processor's."""
    try:
        torchs = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(torchs.vsSqrt, c_void_p).value
    except (OSError, AttributeError):
        return None


def _threads(numbers: int) -> int:
    return max(1, min(torch.get_num_threads(), numbers // EACH))


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
        self.table = _Table(*self.weight.shape, *(one.data_ptr() for one in kept), *most, self.group["eps"], _root())

    def _rule(self, step: int, sign: float) -> _Rule:
        rule = self.tail.rule(step)
        array = c_float * len(rule)
        nodes, weights = array(*(node for node, _ in rule)), array(*(sign * self.lr * weight for _, weight in rule))
        found = _Rule(len(rule), ctypes.cast(nodes, c_void_p), ctypes.cast(weights, c_void_p))
        found.of = nodes, weights  # which are to live as long
        return found

    def begin(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        average, square, value = self.weight.new_empty(3, len(rows), self.weight.shape[1])
        self._begin(rows.data_ptr(), len(rows), self.limit, 1.0, average.data_ptr(), square.data_ptr(), value)
        return rows, average, square, value

    def _begin_all(self, start: Tensor, sign: float, out: Tensor) -> None:
        self._begin(None, len(start), start, sign, None, None, out)

    def _begin(self, rows: int | None, count: int, start: Tensor, sign: float, *to: Any) -> None:
        rule, step, threads = self._rule(self.step + 1, sign), self.step + 1, _threads(to[-1].numel())
        where = (*to[:-1], to[-1].data_ptr(), threads)
        _loops().begin(byref(self.table), rows, count, start.data_ptr(), step, byref(rule), *where)

    def _distinct(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        ids = ids.long().contiguous()
        found, indices = torch.empty_like(ids), torch.empty_like(ids)
        of = ids.data_ptr(), len(ids), len(self.weight)
        count = _loops().distinct(*of, self.position.data_ptr(), found.data_ptr(), indices.data_ptr())
        if count < 0:
            raise IndexError(f"an id is outside of the {len(self.weight)} rows of an embedding")
        return found[:count], indices

    def _finish(self, rows: Tensor, average: Tensor, square: Tensor, value: Tensor, gradient: Tensor) -> None:
        before = gradient.contiguous(), average, square, value
        shares, rule = (1 - self.tail.beta1, 1 - self.tail.beta2), self._rule(self.step, -1.0)
        how = *shares, self.step, byref(rule), self.limit.data_ptr(), _threads(value.numel())
        addresses = (tensor.data_ptr() for tensor in before)
        _loops().finish(byref(self.table), rows.data_ptr(), len(rows), *addresses, *how)

    def bag(self, ids: Tensor, table: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
        fit = offsets is not None and mode in ("mean", "sum") and ids.dtype == offsets.dtype == torch.int64
        if fit and table.dtype == torch.float32 and ids.dim() == 1 and len(offsets):
            return _Bags.apply(table.contiguous(), ids.contiguous(), offsets.contiguous(), mode)[0]
        return super().bag(ids, table, offsets, mode)


class _Bags(torch.autograd.Function):
    """Sums or means of bags of rows, and their gradient."""

    @staticmethod
    def forward(table: Tensor, ids: Tensor, offsets: Tensor, mode: str) -> tuple[Tensor, Tensor]:
        output, owner = table.new_empty(len(offsets), table.shape[1]), torch.empty_like(ids)
        of = ids.data_ptr(), len(ids), offsets.data_ptr(), len(offsets), table.data_ptr(), *table.shape
        if _loops().bags(*of, mode == "mean", owner.data_ptr(), output.data_ptr(), _threads(len(ids) * table.shape[1])):
            F.embedding_bag(ids, table, offsets, mode=mode)  # says what is wrong
            raise IndexError("offsets of bags must rise from 0, and ids be rows of the table")
        return output, owner

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        table, ids, offsets, mode = inputs
        ctx.save_for_backward(ids, offsets, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.shape, ctx.mode = table.shape, mode

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
        ids, offsets, owner = ctx.saved_tensors
        found, order = gradient.new_zeros(ctx.shape), ids.sort().indices  # torch adds in the order of this sort
        bags = ids.data_ptr(), len(ids), offsets.data_ptr(), len(offsets), owner.data_ptr(), order.data_ptr()
        gradient, threads = gradient.contiguous(), _threads(len(ids) * ctx.shape[1])
        _loops().spread(*bags, gradient.data_ptr(), ctx.shape[1], ctx.mode == "mean", found.data_ptr(), threads)
        return found, None, None, None


def _loops() -> Any:
    return library()


def kind(weight: Tensor) -> type[Rows]:
    """Return the class that updates the rows of this weight [V, d] soonest."""
    fit = weight.dtype == torch.float32 and weight.is_contiguous() and weight.numel() > 0
    if not fit or weight.device.type != "cpu" or library() is None:
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
    if all(torch.equal(*pair) for pair in zip(*found, strict=True)):
        return True
    warnings.warn("rows.c does not give torch's bits here, so torch's calls update the rows of an embedding", stacklevel=2)
    return False

"""Translations whose encoder and steps run in decoder.c, for some sentences side by side."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from . import kernel
from .forms import Whole
from .products import Product
from .rows import LANES, Matrix, Rows
from .sublayers import SUBLAYERS

NARROW, FEW = 16, 32  # how many sentences are side by side in a batch of 2 to FEW; in a larger one LANES
BLOCK = 96  # words whose logits decoder.c computes before it looks for the highest


class _Sublayer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("kind", "heads", "query", "value")),
        *((name, Matrix) for name in ("enter", "leave", "memory")),
        *((name, ctypes.c_void_p) for name in ("scale", "shift")),
    ]


class _Stack(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("width", "count")),
        ("eps", ctypes.c_double),
        ("sublayers", ctypes.POINTER(_Sublayer)),
        *((name, ctypes.c_void_p) for name in ("scale", "shift")),
    ]


class _Plan(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("sources", "of_source", "of_target")]


class Compiled:
    """A translator as decoder.c reads it. Raises TypeError for one with a matrix that is neither Whole nor Rows."""

    def __init__(self, model: Any) -> None:
        self.model, self.largest = model, 0  # of the numbers of inputs and outputs of a matrix
        self.encoder, self.decoder = self.stack(model.encoder), self.stack(model.decoder)
        self.generator = _matrix(model.generator)
        entries = self.decoder.sublayers[: self.decoder.count]
        self.of_source = sum(entry.memory.outputs for entry in entries)
        self.of_target = sum(entry.enter.outputs for entry in entries if entry.kind == list(SUBLAYERS).index("self"))

    def stack(self, stack: Any) -> _Stack:
        entries = (_Sublayer * len(stack.sublayers))(*map(self.sublayer, stack.sublayers))
        (width,), scale, shift, eps = stack.norm
        self.largest = max(self.largest, width)
        return _Stack(width, len(entries), eps, entries, scale.data_ptr(), shift.data_ptr())

    def sublayer(self, sublayer: Any) -> _Sublayer:
        kind, (_, scale, shift, _) = list(SUBLAYERS).index(sublayer.about["kind"]), sublayer.norm
        sizes = (sublayer.about.get(name, 0) for name in ("heads", "query", "value"))
        matrices = [_matrix(product) for product in (sublayer.enter, sublayer.leave, sublayer.memory)]
        self.largest = max(self.largest, *(size for matrix in matrices for size in (matrix.inputs, matrix.outputs)))
        return _Sublayer(kind, *sizes, *matrices, scale.data_ptr(), shift.data_ptr())

    def begin(self, source: Tensor, room: int) -> Together:
        """Encode `source` [B, S], for translations of at most `room` tokens."""
        batch, length = source.shape
        held = length * (1 + self.of_source) + room * self.of_target
        side_by_side = 1 if batch == 1 else NARROW if batch <= FEW else LANES
        begun = Together(self, _Plan(length, self.of_source, self.of_target), batch, side_by_side, held, room)
        model, positions = self.model, self.model.encoder.positions(length)
        rows, words = model.source.at(source).contiguous(), source.ne(model.padding).contiguous()
        free = source.new_empty(
            begun.groups, (3 * length + 2 * LANES) * self.largest + length, begun.lanes, dtype=torch.float32
        )
        stacks = byref(self.encoder), byref(self.decoder), byref(begun.plan)
        kernel.call(
            "encode", *stacks, model.source.table, positions, rows, words, batch, begun.held, begun.held[0].numel(),
            free, free[0].numel(), begun.lanes, torch.get_num_threads(),
        )  # fmt: skip
        return begun


class Together:
    """The state of a batch of translations: what each group of `lanes` sentences holds, [groups, rows, lanes]."""

    def __init__(self, compiled: Compiled, plan: _Plan, batch: int, lanes: int, held: int, room: int) -> None:
        self.compiled, self.plan, self.batch, self.lanes = compiled, plan, batch, lanes
        self.groups, self.position, self.last = -(-batch // lanes), 0, room
        self.held = torch.empty(self.groups, held, lanes)
        self.free = torch.empty(self.groups, 5 * compiled.largest + BLOCK + plan.sources + room, lanes)

    def step(self, tokens: Tensor, likeliest: bool) -> Tensor:
        """Return the likeliest words [B] after the latest, `tokens` [B], or else the last hidden vectors [B, E]."""
        compiled, model, batch = self.compiled, self.compiled.model, len(tokens)
        place = model.decoder.positions(self.last)[self.position]
        rows = model.target.at(tokens).contiguous()
        words = torch.empty(batch, dtype=torch.long) if likeliest else None
        hidden = None if likeliest else torch.empty(batch, compiled.decoder.width)
        model_parts = byref(compiled.decoder), byref(compiled.generator), byref(self.plan)
        kernel.call(
            "step", *model_parts, model.target.table, place, rows, batch, self.position, self.held,
            self.held[0].numel(), self.free, self.free[0].numel(), words, hidden, self.lanes, torch.get_num_threads(),
        )  # fmt: skip
        self.position += 1
        return words if hidden is None else hidden

    def keep(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may occur more than once."""
        before, old, plan = self.held, self.lanes, self.plan
        filled = plan.sources * (1 + plan.of_source) + self.position * plan.of_target
        lanes = 1 if len(rows) == 1 else NARROW if len(rows) <= FEW else LANES
        self.__init__(self.compiled, plan, len(rows), lanes, before.shape[1], self.last) 
        kernel.call(
            "keep", before, before[0].numel(), old, self.held, self.held[0].numel(), lanes, rows, len(rows), filled,
            torch.get_num_threads(),
        )  # fmt: skip


def _matrix(product: Product | None) -> Matrix:
    """Return the matrix of a product, dense or sparse; one without entries for a product that is not there."""
    if product is None:
        return Matrix()
    if isinstance(product.made, Rows):
        return product.made.matrix(product.made.bias)
    if type(product.made) is not Whole:
        raise TypeError
    weight, bias = product.made.weight, product.made.bias
    return Matrix(None if bias is None else bias.data_ptr(), weight.data_ptr(), outputs=len(weight), inputs=weight.shape[1])

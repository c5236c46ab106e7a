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
from .rows import LANES, Looped, Matrix
from .sublayers import SUBLAYERS

NARROW, FEW = 16, 32  # how many sentences are side by side in a batch of 2 to FEW; in a larger one LANES
SPARSE = 1 / 3  # a matrix with a smaller share of weights is quicker by Rows than whole
BLOCK = 960  # words, at most, whose logits decoder.c computes before it looks for the highest


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
    """A translator as decoder.c reads it. Raises TypeError for one with a matrix that is neither Whole nor Looped."""

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
        plan = _Plan(length, self.of_source, self.of_target)
        begun = Together(self, plan, length * (1 + self.of_source) + room * self.of_target, room)
        begun.make(batch)
        model, positions = self.model, self.model.encoder.positions(length)
        rows, words = model.source.at(source).contiguous(), source.ne(model.padding).contiguous()
        free = torch.empty(len(begun.held), (3 * length + 2 * LANES) * self.largest + length, begun.lanes)
        kernel.call(
            "encode", byref(self.encoder), byref(self.decoder), byref(plan), model.source.table, positions, rows, words,
            batch, *_groups(begun.held), *_groups(free), begun.lanes, torch.get_num_threads(),
        )  # fmt: skip
        return begun


class Together:
    """The state of a batch of translations, in groups of `lanes` sentences.

    held: [groups, rows, lanes], padding, keys and values of the source, then keys and values of the target.
    """

    def __init__(self, compiled: Compiled, plan: _Plan, rows: int, room: int) -> None:
        self.compiled, self.plan, self.rows, self.room, self.position = compiled, plan, rows, room, 0

    def make(self, batch: int) -> None:
        """Make room for a batch."""
        self.lanes = 1 if batch == 1 else NARROW if batch <= FEW else LANES
        groups, positions = -(-batch // self.lanes), self.plan.sources + self.room
        self.held = torch.empty(groups, self.rows, self.lanes)
        self.free = torch.empty(groups, 5 * self.compiled.largest + BLOCK + positions, self.lanes)

    def step(self, tokens: Tensor, likeliest: bool) -> Tensor:
        """Return the likeliest words [B] after the latest, `tokens` [B], or else the last hidden vectors [B, E]."""
        compiled, model = self.compiled, self.compiled.model
        place = model.decoder.positions(self.room)[self.position]
        rows = model.target.at(tokens).contiguous()
        found = torch.empty_like(rows) if likeliest else torch.empty(len(rows), compiled.decoder.width)
        kernel.call(
            "step", byref(compiled.decoder), byref(compiled.generator), byref(self.plan), model.target.table, place,
            rows, len(rows), self.position, *_groups(self.held), *_groups(self.free),
            *((found, None) if likeliest else (None, found)), self.lanes, torch.get_num_threads(),
        )  # fmt: skip
        self.position += 1
        return found

    def keep(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may occur more than once."""
        held, lanes, plan = self.held, self.lanes, self.plan
        filled = plan.sources * (1 + plan.of_source) + self.position * plan.of_target
        self.make(len(rows))
        kernel.call(
            "keep", *_groups(held), lanes, *_groups(self.held), self.lanes, rows.contiguous(), len(rows), filled,
            torch.get_num_threads(),
        )  # fmt: skip


def _groups(tensor: Tensor) -> tuple[Tensor, int]:
    """Return a tensor and the numbers from one group to the next."""
    return tensor, tensor.stride(0)


def _matrix(product: Product | None) -> Matrix:
    """Return the matrix of a product; one without entries for a product that is not there."""
    if product is None:
        return Matrix()
    if isinstance(product.made, Looped):
        return product.made.matrix(product.made.bias)
    if type(product.made) is not Whole:
        raise TypeError
    weight, bias = product.made.weight, product.made.bias
    return Matrix(
        None if bias is None else bias.data_ptr(), weight.data_ptr(), outputs=len(weight), inputs=weight.shape[1]
    )

"""Measurement of the quickest form of each matrix on this machine, while the whole model runs.

A matrix that is timed alone stays in the processor's cache, so that the dense form seems quicker than it is.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from Utils import exported
from Utils.export.draft import Draft
from Utils.machine import timing

SECONDS = 1.0  # of measurement, for each form and batch size
MARGIN = 0.9  # another form replaces the whole matrix if it takes less than this share of its time: noise is not enough


class _Timed:
    """A form that counts the seconds it takes."""

    def __init__(self, made: exported.Form) -> None:
        self.made, self.tensors, self.seconds = made, made.tensors, 0.0

    def __call__(self, input: Tensor) -> Tensor:
        begun = time.perf_counter()
        found = self.made(input)
        self.seconds += time.perf_counter() - begun
        return found


class _Watched:
    """The whole matrix, counting the vectors, or positions of an image, to which it is applied."""

    def __init__(self, weight: Tensor, bias: Tensor | None, **how: Any) -> None:
        self.weight, self.made, self.positions = weight, _kinds(weight)["whole"](weight, bias, **how), 0
        self.tensors = self.made.tensors

    def __call__(self, input: Tensor) -> Tensor:
        found = self.made(input)
        self.positions += found.numel() // max(1, len(self.weight))
        return found


def microseconds(draft: Draft, forms: tuple[str, ...], use: Callable[[nn.Module], Any]) -> dict[str, dict[str, float]]:
    """Return {matrix: {form: median microseconds in one use}}, with torch's present threads. use(model): runs it."""
    found: dict[str, dict[str, float]] = {}
    for form in forms if len(forms) > 1 else ():
        for name, seconds in _taken(draft, form, use).items():
            found.setdefault(name, {})[form] = round(1e6 * statistics.median(seconds), 2)
    return found


def layout(draft: Draft, use: Callable[[nn.Module], Any]) -> str:
    """Return the quicker layout of images in memory, measured with all matrices whole."""
    models = {
        exported.CHANNELS_FIRST: exported.KINDS[draft.kind](draft.program, draft.tensors).eval(),
        exported.CHANNELS_LAST: exported.KINDS[draft.kind](draft.program, exported.channels_last(draft.tensors)).eval(),
    }
    with torch.no_grad():
        taken = timing.medians({name: partial(use, model) for name, model in models.items()}, 3, SECONDS / 4)
    return min(taken, key=lambda name: statistics.median(taken[name]))


def _kinds(weight: Tensor) -> Mapping[str, Callable[..., exported.Form]]:
    return exported.LINEAR if weight.dim() == 2 else exported.CONV


def _made(draft: Draft, maker: Callable[[Tensor], Callable[..., Any]]) -> tuple[nn.Module, dict[str, Any]]:
    """Return (the model, its matrices by name). maker(weight): returns the form's class."""
    made: dict[str, Any] = {}

    def form(name: str) -> Callable[..., Any]:
        make = maker(draft.tensors[name])
        return lambda weight, bias, **how: made.setdefault(name, make(weight, bias, **how))

    forms = {name: form(name) for name in draft.matrices}
    return exported.KINDS[draft.kind](draft.program, draft.tensors, forms).eval(), made


@torch.no_grad()
def _taken(draft: Draft, form: str, use: Callable[[nn.Module], Any]) -> dict[str, list[float]]:
    """Return the seconds of each matrix in each use of the model, with all matrices in that form."""

    def timed(weight: Tensor) -> Callable[..., _Timed]:
        return lambda *arguments, **how: _Timed(_kinds(weight)[form](*arguments, **how))

    model, made = _made(draft, timed)
    use(model)  # to warm up
    found: dict[str, list[float]] = {name: [] for name, matrix in made.items() if matrix.seconds}
    begun = time.perf_counter()
    while True:
        for matrix in made.values():
            matrix.seconds = 0.0
        use(model)
        for name, seconds in found.items():
            seconds.append(made[name].seconds)
        if time.perf_counter() - begun >= SECONDS:
            return found


def quickest(taken: Mapping[str, float]) -> str:
    """Return the form to compute in, of those measured."""
    best = min(taken, key=taken.__getitem__)
    return best if taken[best] < MARGIN * taken["whole"] else "whole"


def multiply_adds(draft: Draft, forms: Mapping[str, str], use: Callable[[nn.Module], Any]) -> int:
    """Return the multiply-adds of all matrices in one use. forms: the form of each matrix; whole if it is missing."""
    model, made = _made(draft, lambda weight: _Watched)
    with torch.no_grad():
        use(model)
    return sum(matrix.positions * _values(matrix.weight, forms.get(name, "whole")) for name, matrix in made.items())


def _values(weight: Tensor, form: str) -> int:
    """Return how many numbers of the matrix are multiplied at each position."""
    if form in ("csr", "scattered"):
        return int(weight.count_nonzero())
    return (exported.block(weight)[2] if form == "block" else weight).numel()

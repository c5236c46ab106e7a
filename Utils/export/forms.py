"""Which form of a matrix is the quickest on this machine: measured with the inputs that it really gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from Utils import exported, timing
from Utils.export.draft import Draft

SECONDS = 0.05  # of measurement for each form
HOPELESS = 5  # a form so many times as slow as another is not measured twice
MARGIN = 0.9  # another form than the whole matrix has to take less than this share of its time: chance decides nothing


class _Watched:
    """Stands in for a form: computes as the whole matrix does, and keeps what it was last called with.

    `positions`: how many vectors, or places of an image, it was applied to in all.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, **how: Any) -> None:
        self.kinds = exported.LINEAR if weight.dim() == 2 else exported.CONV
        self.arguments, self.how = (weight, bias), how
        self.form = self.made("whole")
        self.tensors = self.form.tensors
        self.input: Tensor | None = None
        self.positions = 0

    def made(self, form: str) -> exported.Form:
        return self.kinds[form](*self.arguments, **self.how)

    def __call__(self, input: Tensor) -> Tensor:
        found = self.form(input)
        self.input = input
        self.positions += found.numel() // max(1, len(self.arguments[0]))
        return found


def microseconds(
    draft: Draft, forms: tuple[str, ...], uses: Mapping[int, Callable[[nn.Module], Any]]
) -> dict[str, dict[str, dict[str, float]]]:
    """{matrix: {examples at a time: {form: median microseconds of one product}}}, with torch's present threads.

    uses: by the number of examples, what runs a model on them.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size, use in uses.items() if len(forms) > 1 else ():
        for name, watched in _watch(draft, use).items():
            found.setdefault(name, {})[str(size)] = _measured(watched, forms)
    return found


def quickest(taken: Mapping[str, float]) -> str:
    """The form to compute in, of those measured."""
    best = min(taken, key=taken.__getitem__)
    return best if taken[best] < MARGIN * taken["whole"] else "whole"


def multiply_adds(draft: Draft, forms: Mapping[str, str], use: Callable[[nn.Module], Any]) -> int:
    """What the matrices cost in all as `use` runs the model. forms: of each matrix; those left out are whole."""
    total = 0
    for name, watched in _watch(draft, use).items():
        weight = watched.arguments[0]
        form = forms.get(name, "whole")
        if form == "csr":
            values = int(weight.count_nonzero())
        else:
            values = (exported.block(weight)[2] if form == "block" else weight).numel()
        total += values * watched.positions
    return total


def _watch(draft: Draft, use: Callable[[nn.Module], Any]) -> dict[str, _Watched]:
    """The matrices that `use` makes the model call."""
    made: dict[str, _Watched] = {}

    def watcher(name: str) -> Callable[..., _Watched]:
        return lambda weight, bias, **how: made.setdefault(name, _Watched(weight, bias, **how))

    with torch.no_grad():
        watchers = {name: watcher(name) for name in draft.matrices}
        use(exported.KINDS[draft.kind](draft.program, draft.tensors, watchers).eval())
    return {name: watched for name, watched in made.items() if watched.input is not None}


@torch.no_grad()
def _measured(watched: _Watched, forms: tuple[str, ...]) -> dict[str, float]:
    taken: dict[str, float] = {}
    for form in forms:
        timer = timing.timer(partial(watched.made(form), watched.input))
        taken[form] = timer.timeit(1).median  # it warms up before
        if taken[form] < HOPELESS * min(taken.values()):
            taken[form] = timer.blocked_autorange(min_run_time=SECONDS).median
    return {form: round(1e6 * seconds, 2) for form, seconds in taken.items()}

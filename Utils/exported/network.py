"""A network as a list of operations that run one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .forms import CONV, LINEAR
from .lookup import Lookup

PART = 16  # images whose values the second-level cache holds, between the scattered products of a network


def spread(core: Tensor, repeat: list[list[int]]) -> Tensor:
    """Return the map [C, H, W] of a core. repeat: (index, number of copies), of a row and then of a column."""
    for dim, (axis, times) in enumerate(repeat, 1):
        counts = torch.ones(core.shape[dim], dtype=torch.long)
        counts[axis] = times
        core = core.repeat_interleave(counts, dim)
    return core


class Network(nn.Module):
    """A network made of operations: data [B, ...] -> logits [B, classes].

    program: for each operation its "op", a key of OPERATIONS, the names of the values that it reads ("inputs") and of
    the value that it gives ("output"), its "tensors" by role, and its further arguments.
    forms: {matrix: a key of LINEAR and CONV, or a callable like their values}; other matrices are whole.
    """

    def __init__(
        self, program: list[dict[str, Any]], tensors: Mapping[str, Tensor], forms: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.steps: list[tuple[Callable, list[str], str]] = []
        self.held: list[Tensor] = []  # the tensors in memory
        self.by_parts = False  # the batch is computed in parts
        self.result = program[-1]["output"]
        for step in program:
            own = {role: tensors[name] for role, name in step.get("tensors", {}).items()}
            weight = step.get("tensors", {}).get("weight", "")
            form = (forms or {}).get(weight, "whole") if step["op"] != "bag" else Lookup(weight, tensors)
            if step["op"] not in OPERATIONS:
                raise ValueError(f"this loader knows no operation {step['op']!r}")
            self.by_parts |= form == "scattered" and own["weight"].dim() == 4
            body, held = OPERATIONS[step["op"]](own, step, form)
            self.steps.append((body, step["inputs"], step["output"]))
            self.held += held
        read = [{*inputs} for _, inputs, _ in self.steps]  # and then what is not read again
        self.over = [names.difference(*read[k + 1 :], [self.result]) for k, names in enumerate(read)]

    def forward(self, data: Any) -> Tensor:
        if self.by_parts and len(data) > PART:
            return torch.cat([self(part) for part in data.split(PART)])
        found = {"data": data}
        for (body, inputs, output), over in zip(self.steps, self.over, strict=True):
            found[output] = body(*(found[name] for name in inputs))
            for name in over:  # so that the next value takes its memory, which is in the cache
                del found[name]
        return found[self.result]

    def values(self, data: Any) -> dict[str, Any]:
        """Return every value, by name."""
        found = {"data": data}
        for body, inputs, output in self.steps:
            found[output] = body(*(found[name] for name in inputs))
        return found


# An operation: (its tensors, its entry, the form of its matrix, or the Lookup of a bag) -> (its function, the tensors
# in memory).


def _linear(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    made = LINEAR.get(form, form)(own["weight"], own.get("bias"))
    return made, made.tensors


def _conv(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    made = CONV.get(form, form)(own["weight"], own.get("bias"), stride=step["stride"], padding=step["padding"])
    if "offset" not in own:
        return made, made.tensors
    offset = spread(own["offset"], step["repeat"])
    return lambda input: made(input) + offset, [*made.tensors, offset]


def _affine(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    shape = -1, *[1] * step["trailing"]
    scale = own["weight"].view(shape)
    if "bias" not in own:
        return lambda input: input * scale, [scale]
    shift = own["bias"].view(shape)
    return lambda input: torch.addcmul(shift, input, scale), [scale, shift]


def _bag(own: dict[str, Tensor], step: dict[str, Any], form: Any) -> tuple[Callable, list[Tensor]]:
    return lambda texts: F.embedding_bag(form.at(texts.ids), form.table, texts.offsets, mode="mean"), form.held


def _max_pool(input: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """Return torch's max_pool2d of [B, C, H, W]; of squares side by side in the input's layout, which torch loses."""
    if (stride, padding) != (size, 0) or input.stride(0) != 1 or input.stride(3) == 1:
        return F.max_pool2d(input, size, stride, padding)
    rows, columns = (n // size * size for n in input.shape[2:])
    squares = [input[:, :, i:rows:size, j:columns:size] for i in range(size) for j in range(size)]
    return reduce(torch.maximum, squares)


def _without(body: Callable[[dict[str, Any]], Callable]) -> Callable:
    """Return an operation without tensors. body(entry): returns the function that computes it."""
    return lambda own, step, form: (body(step), [])


OPERATIONS = {
    "linear": _linear,
    "conv": _conv,
    "affine": _affine,
    "bag": _bag,
    "relu": _without(lambda step: F.relu),
    "add": _without(lambda step: torch.add),
    "flatten": _without(lambda step: lambda input: input.flatten(1)),
    "max_pool": _without(
        lambda step: partial(
            _max_pool, size=step["size"], stride=step.get("stride", step["size"]), padding=step.get("padding", 0)
        )
    ),
    "mean": _without(lambda step: lambda input: input.mean((2, 3), keepdim=True)),
}

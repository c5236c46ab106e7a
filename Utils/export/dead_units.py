"""Removal of the units that pruning has disconnected, so that the network becomes smaller.

A unit (a feature of a Linear, a channel of a convolution) is kept if a path connects it to the input and to an output
(see `reach`). A unit without a path to an output is removed. A unit without a path from the input is constant: it is
removed too, and its contribution is added to the next layer's bias. If the padding of a convolution makes that
contribution differ between positions, it becomes a map of offsets. The network computes the same, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from Utils import exported
from Utils.export import reach
from Utils.export.draft import Draft


def compact(draft: Draft, example: Any) -> Draft:
    """Return the smaller network. example: any input, [1, ...]; only its shape matters."""
    with torch.no_grad():
        exact = {name: value.double() for name, value in draft.tensors.items()}
        if isinstance(example, Tensor):
            example = example.double()
        values = exported.Network(draft.program, exact).values(example)
        sizes = {name: tuple(value.shape) if isinstance(value, Tensor) else (1,) for name, value in values.items()}
        found = reach.Ways(draft.program, draft.tensors, sizes)
        smaller = Draft(draft.kind, [], {}, list(draft.matrices), list(draft.tables))
        for step in draft.program:
            _shrink(smaller, step, draft, found, values)
    return smaller


def _shrink(smaller: Draft, step: dict[str, Any], draft: Draft, found: reach.Ways, values: dict[str, Tensor]) -> None:
    """Add an operation of the draft to `smaller`, with the kept channels alone. values: every value of the example."""
    own = {role: draft.tensors[name] for role, name in step.get("tensors", {}).items()}
    step, keep = dict(step), found.keeps(step["output"])
    if step["op"] in reach.MATRICES:
        name = step["inputs"][0]
        inputs = found.keeps(name)
        offset = _constants(step, own["weight"].double(), values[name], ~found.way_in[name] & ~inputs)
        own["weight"] = own["weight"][keep][:, inputs]
        bias = own["bias"][keep].double() if "bias" in own else torch.zeros(int(keep.sum()), dtype=torch.float64)
        if offset is not None:
            own |= _settled(step, bias, offset[keep])
        elif "bias" in own:
            own["bias"] = own["bias"][keep]
    elif step["op"] == "bag":
        own["weight"] = own["weight"][:, keep]
    else:
        own = {role: value[keep] for role, value in own.items()}
    if own:
        step["tensors"] = {role: f"{step['output']}.{role}" for role in own}
        smaller.tensors |= {step["tensors"][role]: value.contiguous() for role, value in own.items()}
    smaller.program.append(step)


def _constants(step: dict[str, Any], weight: Tensor, value: Tensor, constant: Tensor) -> Tensor | None:
    """Return what the removed constant inputs add to each output: [O] or [O, H, W]; None if there are none."""
    if not constant.any():
        return None
    if step["op"] == "linear":
        return weight[:, constant] @ value[0, constant]
    return F.conv2d(value[:1, constant], weight[:, constant], stride=step["stride"], padding=step["padding"])[0]


def _settled(step: dict[str, Any], bias: Tensor, offset: Tensor) -> dict[str, Tensor]:
    """Return the new bias and, if the offset differs between positions, the core of its map."""
    if offset.dim() > 1:
        middle = offset[:, offset.shape[1] // 2, offset.shape[2] // 2]
        rest = offset - middle.view(-1, 1, 1)
        if not torch.allclose(rest, torch.zeros_like(rest), atol=1e-9):
            core, step["repeat"] = _core(rest)
            return {"bias": (bias + middle).float(), "offset": core.float()}
        offset = middle
    return {"bias": (bias + offset).float()}


def _core(map_: Tensor) -> tuple[Tensor, list[list[int]]]:
    """Return (core, repeat): a map [C, H, W] without the copies of its middle row and column (see exported.spread).

    Padding changes values only near the border; all values further inside are equal.
    """
    repeat = []
    for dim in (1, 2):
        size = map_.shape[dim]
        same = [torch.allclose(map_.select(dim, k), map_.select(dim, size // 2), atol=1e-9) for k in range(size)]
        first = last = size // 2
        while first > 0 and same[first - 1]:
            first -= 1
        while last < size - 1 and same[last + 1]:
            last += 1
        repeat.append([first, last - first + 1])
        chosen = [k for k in range(size) if not first < k <= last]
        map_ = map_.index_select(dim, torch.tensor(chosen))
    return map_, repeat

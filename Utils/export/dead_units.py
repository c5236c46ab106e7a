"""Units that a mask has made dead, taken out of a network for good.

A unit (a feature of a Linear, a channel of a convolution) stays if it has a way in, a path of weights from the input,
and a way out, one to a class. What has no way out is left away. What has no way in is a constant, whatever the input:
it goes too, and what it adds to the next layer is added to that layer's bias, or, where the padding of a convolution
makes it differ from place to place, to a map of offsets. The function that is left is the same, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from Utils import exported
from Utils.export.draft import Draft

MATRICES = ("linear", "conv")


class _Values:
    """Of each value on the way, which of its channels have a way in and a way out; and which values share channels.

    Values that elementwise steps join (a sum and its terms, what goes in and out of a ReLU) keep the same channels.
    `group` names the set that a value belongs to, by its root.
    """

    def __init__(self, draft: Draft, sizes: dict[str, tuple[int, ...]]) -> None:
        self.draft, self.sizes = draft, sizes
        self.root = {name: name for name in sizes}
        self.way_in: dict[str, Tensor] = {"data": torch.ones(_channels(sizes["data"]), dtype=torch.bool)}
        self.way_out = {name: torch.zeros(_channels(size), dtype=torch.bool) for name, size in sizes.items()}
        for step in draft.program:
            if step["op"] not in (*MATRICES, "flatten", "bag"):
                for name in step["inputs"]:
                    self.root[self.group(name)] = self.group(step["output"])
            self.way_in[step["output"]] = self._forward(step)
        result = draft.program[-1]["output"]
        self.way_out[result][:] = True
        for step in reversed(draft.program):
            for name, found in zip(step["inputs"], self._backward(step), strict=True):
                self.way_out[name] |= found
        self.kept = self._kept(result)

    def group(self, name: str) -> str:
        while self.root[name] != name:
            name = self.root[name]
        return name

    def _tensor(self, step: dict[str, Any], role: str = "weight") -> Tensor:
        return self.draft.tensors[step["tensors"][role]]

    def _links(self, step: dict[str, Any]) -> Tensor:
        """Boolean [O, I]: which inputs of a matrix bear on which outputs."""
        weight = self._tensor(step).ne(0)
        return weight.flatten(2).any(2) if weight.dim() > 2 else weight

    def _forward(self, step: dict[str, Any]) -> Tensor:
        before = [self.way_in[name] for name in step["inputs"]] if step["op"] != "bag" else []
        if step["op"] in MATRICES:
            return (self._links(step) & before[0]).any(1)
        if step["op"] == "bag":
            return self._tensor(step).ne(0).any(0)
        if step["op"] == "affine":
            return before[0] & self._tensor(step).ne(0)
        if step["op"] == "flatten":
            return before[0].repeat_interleave(_places(self.sizes[step["inputs"][0]]))
        return torch.stack(before).any(0)

    def _backward(self, step: dict[str, Any]) -> list[Tensor]:
        after = self.way_out[step["output"]]
        if step["op"] in MATRICES:
            return [(self._links(step) & after.unsqueeze(1)).any(0)]
        if step["op"] == "bag":
            return [self.way_out["data"]]
        if step["op"] == "affine":
            return [after & self._tensor(step).ne(0)]
        if step["op"] == "flatten":
            return [after.unflatten(0, (-1, _places(self.sizes[step["inputs"][0]]))).any(1)]
        return [after] * len(step["inputs"])

    def _kept(self, result: str) -> dict[str, Tensor]:
        """By group: the channels that stay. Of the input and of the classes all do."""
        kept: dict[str, Tensor] = {}
        for name in self.way_in:
            root = self.group(name)
            alive = self.way_in[name] & self.way_out[name]
            kept[root] = kept.get(root, torch.zeros_like(alive)) | alive
        for name in ("data", result):
            kept[self.group(name)][:] = True
        for alive in kept.values():  # torch has no convolution of no channels
            alive[0] |= not alive.any()
        for step in self.draft.program:  # a feature of a flattened image stays where its channel does
            if step["op"] == "flatten":
                places = _places(self.sizes[step["inputs"][0]])
                kept[self.group(step["output"])] = kept[self.group(step["inputs"][0])].repeat_interleave(places)
        return kept

    def keeps(self, name: str) -> Tensor:
        return self.kept[self.group(name)]


def _channels(size: tuple[int, ...]) -> int:
    return size[1] if len(size) > 1 else size[0]


def _places(size: tuple[int, ...]) -> int:
    return torch.Size(size[2:]).numel()


def compact(draft: Draft, example: Any) -> Draft:
    """The smaller network. example: any input of it, [1, ...]; its values matter to nothing."""
    with torch.no_grad():
        exact = {name: value.double() for name, value in draft.tensors.items()}
        if isinstance(example, Tensor):
            example = example.double()
        values = exported.Network(draft.program, exact).values(example)
        sizes = {name: tuple(value.shape) if isinstance(value, Tensor) else (1,) for name, value in values.items()}
        found = _Values(draft, sizes)
        smaller = Draft(draft.kind, [], {}, list(draft.matrices))
        for step in draft.program:
            _shrink(smaller, step, draft, found, values)
    return smaller


def _shrink(smaller: Draft, step: dict[str, Any], draft: Draft, found: _Values, values: dict[str, Tensor]) -> None:
    own = {role: draft.tensors[name] for role, name in step.get("tensors", {}).items()}
    step, keep = dict(step), found.keeps(step["output"])
    if step["op"] in MATRICES:
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
    """What the constant inputs that go add to each output: [O] or [O, H, W]; None if there are none."""
    if not constant.any():
        return None
    if step["op"] == "linear":
        return weight[:, constant] @ value[0, constant]
    return F.conv2d(value[:1, constant], weight[:, constant], stride=step["stride"], padding=step["padding"])[0]


def _settled(step: dict[str, Any], bias: Tensor, offset: Tensor) -> dict[str, Tensor]:
    """The new bias and, where the offset is not the same everywhere, the core of its map."""
    if offset.dim() > 1:
        middle = offset[:, offset.shape[1] // 2, offset.shape[2] // 2]
        rest = offset - middle.view(-1, 1, 1)
        if not torch.allclose(rest, torch.zeros_like(rest), atol=1e-9):
            core, step["repeat"] = _core(rest)
            return {"bias": (bias + middle).float(), "offset": core.float()}
        offset = middle
    return {"bias": (bias + offset).float()}


def _core(map_: Tensor) -> tuple[Tensor, list[list[int]]]:
    """The map [C, H, W] without the repetition of its middle row and of its middle column (see exported.spread).

    Padding is felt as far from the border as there are layers before; what lies further in is all the same.
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

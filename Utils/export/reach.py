"""Search for the units of an export that are connected to the input (a way in) and to an output (a way out).

A path consists of weights that are not zero. In a convolution a channel counts as one unit, whatever the position. So a
unit without a path is dead for certain and may be removed. `Pruners.dead` answers another question: it reports what the
masks of any model cut off, including models that cannot be exported, and looks at the masks alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from Utils import exported

MATRICES = ("linear", "conv")


def fed(matrix: Tensor, before: Tensor | None = None) -> Tensor:
    """Return which outputs of a matrix [O, I, ...] have a way in: [O]. before: the inputs that have one, [I]."""
    links = exported.links(matrix)
    return (links if before is None else links & before).any(1)


def read(matrix: Tensor, after: Tensor | None = None) -> Tensor:
    """Return which inputs of a matrix [O, I, ...] have a way out: [I]. after: the outputs that have one, [O]."""
    links = exported.links(matrix)
    return (links if after is None else links & after.unsqueeze(1)).any(0)


class Ways:
    """The channels of each value of an `exported.Network` that have a way in or a way out, and those to keep.

    Values that elementwise operations connect, such as a sum and its terms, form a group that keeps the same channels.
    """

    def __init__(
        self, program: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Follow the program forwards and backwards. sizes: shape of each value, [B, channels, ...]; [1] of texts."""
        self.program, self.tensors, self.sizes = program, tensors, sizes
        self.root = {name: name for name in sizes}
        self.way_in: dict[str, Tensor] = {"data": torch.ones(_channels(sizes["data"]), dtype=torch.bool)}
        self.way_out = {name: torch.zeros(_channels(size), dtype=torch.bool) for name, size in sizes.items()}
        for step in program:
            if step["op"] not in (*MATRICES, "flatten", "bag"):
                for name in step["inputs"]:
                    self.root[self._group(name)] = self._group(step["output"])
            self.way_in[step["output"]] = self._forward(step)
        result = program[-1]["output"]
        self.way_out[result][:] = True
        for step in reversed(program):
            for name, found in zip(step["inputs"], self._backward(step), strict=True):
                self.way_out[name] |= found
        self.kept = self._kept(result)

    def keeps(self, name: str) -> Tensor:
        """Return which channels of a value are kept, [channels]."""
        return self.kept[self._group(name)]

    def _group(self, name: str) -> str:
        """Return the value that represents the group of this one."""
        while self.root[name] != name:
            name = self.root[name]
        return name

    def _weight(self, step: Mapping[str, Any]) -> Tensor:
        return self.tensors[step["tensors"]["weight"]]

    def _forward(self, step: Mapping[str, Any]) -> Tensor:
        if step["op"] == "bag":
            return self._weight(step).ne(0).any(0)
        before = [self.way_in[name] for name in step["inputs"]]
        if step["op"] in MATRICES:
            return fed(self._weight(step), before[0])
        if step["op"] == "affine":
            return before[0] & self._weight(step).ne(0)
        if step["op"] == "flatten":
            return before[0].repeat_interleave(_positions(self.sizes[step["inputs"][0]]))
        return torch.stack(before).any(0)

    def _backward(self, step: Mapping[str, Any]) -> list[Tensor]:
        after = self.way_out[step["output"]]
        if step["op"] in MATRICES:
            return [read(self._weight(step), after)]
        if step["op"] == "bag":
            return [self.way_out["data"]]
        if step["op"] == "affine":
            return [after & self._weight(step).ne(0)]
        if step["op"] == "flatten":
            return [after.unflatten(0, (-1, _positions(self.sizes[step["inputs"][0]]))).any(1)]
        return [after] * len(step["inputs"])

    def _kept(self, result: str) -> dict[str, Tensor]:
        """Return the channels that are kept, by group: all of the input and of the classes."""
        kept: dict[str, Tensor] = {}
        for name in self.way_in:
            root = self._group(name)
            alive = self.way_in[name] & self.way_out[name]
            kept[root] = kept.get(root, torch.zeros_like(alive)) | alive
        for name in ("data", result):
            kept[self._group(name)][:] = True
        for alive in kept.values():  # torch has no convolution without channels
            alive[0] |= not alive.any()
        for step in self.program:  # a feature of a flattened image is kept if its channel is
            if step["op"] == "flatten":
                positions = _positions(self.sizes[step["inputs"][0]])
                kept[self._group(step["output"])] = kept[self._group(step["inputs"][0])].repeat_interleave(positions)
        return kept


def _channels(size: tuple[int, ...]) -> int:
    return size[1] if len(size) > 1 else size[0]


def _positions(size: tuple[int, ...]) -> int:
    return torch.Size(size[2:]).numel()
